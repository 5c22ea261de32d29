"""Ensures that every active submitted run has a live follower (a `dub-archive` flow run), and replaces lost ones.

Called by `deepsound run submit`, `resume`, `retry` and `sweep`, and every minute by the deployment `sweep`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from prefect import flow
from sqlalchemy.orm import Session

from db.read.run_progress import run_list
from db.read.run_state import RunState, find_submission, run_state
from db.read.worker_status import dead_flow_runs, live_flow_runs
from db.schema.run_records import EventKind
from db.state.lease_owner import this_owner
from db.write.run_events import record_event
from deepsound.errors import DeepSoundError, PrefectNotStartedError
from flows import deployments
from flows.deployments import ARCHIVE_FLOW, FOLLOWERS_POOL, OpenFlowRun
from tasks.operations.submission import Priority
from tasks.runtime.stores import current_store_urls
from tasks.runtime.worker import Worker, open_worker

STARTUP_GRACE = timedelta(seconds=90)
"""Time a flow run may take to its first heartbeat; its process spends seconds on imports."""

_NEWEST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class WorkerLiveness:
    """Flow runs with a live worker, and flow runs whose worker stopped sending heartbeats."""

    live: frozenset[str]
    lost: frozenset[str]

    def is_silent(self, flow_run: OpenFlowRun) -> bool:
        """True for a started flow run whose worker is lost, or that has no heartbeat after the grace period."""
        age = flow_run.pending if flow_run.running is None else flow_run.running
        if age is None or flow_run.id in self.live:
            return False
        return flow_run.id in self.lost or age > STARTUP_GRACE


def read_liveness(session: Session, run: str) -> WorkerLiveness:
    """Reads the heartbeats of all flow runs of a run."""
    return WorkerLiveness(live_flow_runs(session, run), dead_flow_runs(session, run))


async def ensure_followed(worker: Worker, run: str) -> bool:
    """Starts a follower in the pool `followers`, unless the run has a live or scheduled one.

    The follower starts at the time given by `run submit --at`. Returns True if it started one. Raises
    PrefectNotDeployedError.
    """
    submission, liveness = await asyncio.to_thread(_submission, worker, run)
    followed = False
    for flow_run in await deployments.open_flow_runs(ARCHIVE_FLOW, FOLLOWERS_POOL, run):
        if liveness.is_silent(flow_run):
            await deployments.mark_crashed(flow_run.id)
        else:
            followed = True
    if not followed:
        at, queue = submission.get("at"), Priority(str(submission["priority"]))
        due = None if at is None else datetime.fromisoformat(str(at))
        await deployments.start_flow_run(ARCHIVE_FLOW, FOLLOWERS_POOL, run, {"run": run}, queue, due)
    return not followed


def pause_stalled_run(worker: Worker, run: str, fruitless: int) -> DeepSoundError:
    """Pauses a run whose shards end without ending a video; otherwise the next sweep would start a new follower.

    Returns the error for the follower to raise. Raises LedgerError subclasses.
    """
    reason = f"{fruitless} shards in a row ended without ending a video"
    with worker.ledger.write() as session:
        if run_state(session, run) is RunState.ACTIVE:
            record_event(session, run, EventKind.PAUSED, by=this_owner(), reason=reason)
    return PrefectNotStartedError(
        f"{reason}, so it is paused",
        where=f"run {run}",
        remedy="see the log of its last `dub-shard` in Prefect, repair the worker, then `deepsound run resume`",
    )


@flow(name="sweep", flow_run_name="sweep", validate_parameters=False)
async def sweep() -> None:
    """Starts a follower for every active run that has none."""
    worker = await asyncio.to_thread(open_worker, current_store_urls())
    await sweep_runs(worker)


async def sweep_runs(worker: Worker) -> list[str]:
    """Starts a follower for each submitted, active run with open items and no follower; returns their ids."""
    runs = await asyncio.to_thread(_unfinished_runs, worker)
    return [run for run in runs if await ensure_followed(worker, run)]


def _unfinished_runs(worker: Worker) -> list[str]:
    with worker.ledger.read() as session:
        lines = [line for line in run_list(session, _NEWEST_RUNS) if line.open_items]
        return [
            line.run_id
            for line in lines
            if line.state is RunState.ACTIVE and find_submission(session, line.run_id) is not None
        ]


def _submission(worker: Worker, run: str) -> tuple[Mapping[str, Any], WorkerLiveness]:
    with worker.ledger.read() as session:
        submission = find_submission(session, run)
        if submission is None:
            raise ValueError(f"run {run} was never submitted to a pool")
        return submission, read_liveness(session, run)
