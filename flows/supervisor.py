"""That every run which should go on is followed by somebody: what `deepsound run submit`, `resume`, `retry` and
`sweep` ask for, and the deployment `sweep` every minute. A follower that vanished is given up, and replaced.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from prefect import flow
from sqlalchemy.orm import Session

from db.read.run_progress import run_list
from db.state.lease_owner import this_owner
from db.write.run_events import EventKind, RunState, find_submission, record_event, run_state
from db.write.worker_sessions import dead_flow_runs, live_flow_runs
from deepsound.errors import DeepSoundError, PrefectNotStartedError
from flows import deployments
from flows.deployments import ARCHIVE_FLOW, FOLLOWERS_POOL, OpenFlowRun
from tasks.operations.submission import Priority
from tasks.runtime.stores import current_store_urls
from tasks.runtime.worker import Worker, open_worker

STARTUP_GRACE = timedelta(seconds=90)
"""How long a flow run may be at work without a first sign of life: its process imports for a while."""

_RUNS_LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class WorkerLiveness:
    """Flow runs with a live worker, and flow runs whose worker stopped sending heartbeats."""

    at_work: frozenset[str]
    lost: frozenset[str]

    def is_silent(self, flow_run: OpenFlowRun) -> bool:
        """Whether a flow run should give a sign of life and does not."""
        so_long = flow_run.pending if flow_run.running is None else flow_run.running
        if so_long is None or flow_run.id in self.at_work:
            return False
        return flow_run.id in self.lost or so_long > STARTUP_GRACE


def read_liveness(session: Session, run: str) -> WorkerLiveness:
    """Those of all flow runs of a run."""
    return WorkerLiveness(live_flow_runs(session, run), dead_flow_runs(session, run))


async def ensure_followed(worker: Worker, run: str) -> bool:
    """Have a worker of the pool `followers` follow a submitted run, unless one does or is about to.

    It begins at the time that the order asks for. Returns whether it is a new one. Raises DeepSoundError
    (ENGINE_NOT_DEPLOYED).
    """
    order, signs = await asyncio.to_thread(_order, worker, run)
    followed = False
    for flow_run in await deployments.open_flow_runs(ARCHIVE_FLOW, FOLLOWERS_POOL, run):
        if signs.is_silent(flow_run):
            await deployments.mark_crashed(flow_run.id)
        else:
            followed = True
    if not followed:
        at, queue = order.get("at"), Priority(str(order["priority"]))
        due = None if at is None else datetime.fromisoformat(str(at))
        await deployments.start_flow_run(ARCHIVE_FLOW, FOLLOWERS_POOL, run, {"run": run}, queue, due)
    return not followed


def pause_stalled_run(worker: Worker, run: str, fruitless: int) -> DeepSoundError:
    """Pause a run of which shard after shard ends and no video does, or it would be followed again at once.

    Returns the error for its follower to end with. Raises DeepSoundError (LEDGER_*).
    """
    why = f"{fruitless} shards in a row ended without ending a video"
    with worker.ledger.write() as session:
        if run_state(session, run) is RunState.ACTIVE:
            record_event(session, run, EventKind.PAUSED, by=this_owner(), reason=why)
    return PrefectNotStartedError(
        f"{why}, so it is paused",
        where=f"run {run}",
        remedy="see the log of its last `dub-shard` in Prefect, mend its worker, then `deepsound run resume`",
    )


@flow(name="sweep", flow_run_name="sweep", validate_parameters=False)
async def sweep() -> None:
    """Start what should go on and is followed by nobody."""
    worker = await asyncio.to_thread(open_worker, current_store_urls())
    await sweep_runs(worker)


async def sweep_runs(worker: Worker) -> list[str]:
    """Have submitted runs followed that may go on, have open items and are followed by nobody; their ids."""
    runs = await asyncio.to_thread(_should_go_on, worker)
    return [run for run in runs if await ensure_followed(worker, run)]


def _should_go_on(worker: Worker) -> list[str]:
    with worker.ledger.read() as session:
        lines = [line for line in run_list(session, _RUNS_LOOKED_AT) if line.open_items]
        return [
            line.run_id
            for line in lines
            if line.state is RunState.ACTIVE and find_submission(session, line.run_id) is not None
        ]


def _order(worker: Worker, run: str) -> tuple[Mapping[str, Any], WorkerLiveness]:
    with worker.ledger.read() as session:
        order = find_submission(session, run)
        if order is None:
            raise ValueError(f"run {run} was never submitted to a pool")
        return order, read_liveness(session, run)
