"""The `dub-archive` flow: a run from its first shard to its last video.

A submitted run is followed: the flow starts shards in the run's pool as workers become free, hands the videos of a
lost worker to new shards, and stops on a pause, a cancellation or a spent budget. A local run is processed in this
process. The ledger holds what is left to do, so this flow can be killed and started again at any time.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
from prefect import flow
from prefect.exceptions import PrefectException, PrefectHTTPStatusError

from db.read.run_progress import OpenItem, RunProgress, open_items, run_progress
from db.read.run_state import RunState, find_submission, run_state
from db.read.worker_status import seconds_per_item
from db.schema.database import no_such_run
from db.state.lease_owner import lease_seconds, this_owner
from db.write.run_events import pause_if_budget_spent
from deepsound.errors import DeepSoundError
from flows import deployments
from flows.deployments import SHARD_FLOW, OpenFlowRun
from flows.outage_retry import MAX_OUTAGE_SECONDS, retry_through_outage
from flows.prefect_artifacts import RunArtifacts
from flows.scheduler import Shard, ShardState, next_shard_actions, shard_size
from flows.shard import LOCAL_SHARD_SIZE, current_flow_run_id, dub_shard
from flows.supervisor import WorkerLiveness, pause_stalled_run, read_liveness
from tasks.operations.run_activity import unfinished_items
from tasks.operations.sealing import seal_if_closed
from tasks.operations.submission import Priority
from tasks.runtime.heartbeat import worker_session
from tasks.runtime.stores import current_store_urls
from tasks.runtime.worker import Worker, open_worker

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0
MAX_FRUITLESS_SHARDS = 5
"""After this many shards in a row that end no video, the cause is assumed to affect all shards."""


@flow(name="dub-archive", flow_run_name="archive run {run}", validate_parameters=False)
async def dub_archive(run: str) -> list[str]:
    """Processes every video of a run.

    Returns one line for each shard of a local run that failed outside of steps; its videos stay open. Raises
    DeepSoundError if no video can be processed.
    """
    worker = await retry_through_outage(open_worker, current_store_urls())
    dispatch = await retry_through_outage(_dispatch_settings, worker, run)
    if dispatch is not None:
        await _follow(worker, run, dispatch)
        await retry_through_outage(seal_if_closed, worker, run)
        return []
    return await _run_locally(worker, run)


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """Pool, priority and budget given to `deepsound run submit`."""

    pool: str
    priority: Priority
    budget_hours: float | None


@dataclass(slots=True)
class _FollowerState:
    """What the follower keeps between two polls; everything else is in the ledger and in Prefect."""

    silent_since: dict[str, float] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    open_items: int = 0
    fruitless: int = 0


@dataclass(frozen=True, slots=True)
class _LedgerSnapshot:
    """The result of one poll of the ledger."""

    open: Sequence[OpenItem]
    is_active: bool
    liveness: WorkerLiveness
    size: int
    progress: RunProgress


async def _run_locally(worker: Worker, run: str) -> list[str]:
    """Runs shard after shard in this process; an error in one does not stop the others."""
    items, problems, failed_in_a_row = await asyncio.to_thread(unfinished_items, worker, run), list[str](), 0
    for start in range(0, len(items), LOCAL_SHARD_SIZE):
        if await asyncio.to_thread(_state, worker, run) is not RunState.ACTIVE:
            break
        shard = items[start : start + LOCAL_SHARD_SIZE]
        try:
            await dub_shard(run, shard)
        except DeepSoundError:
            raise  # Ledger, store or settings: every other shard would fail too.
        except Exception as error:
            problems.append(f"a shard of {len(shard)} videos failed: {type(error).__name__}: {error}")
            log.exception("%s", problems[-1])
            failed_in_a_row += 1
            if failed_in_a_row >= MAX_FRUITLESS_SHARDS:
                raise
        else:
            failed_in_a_row = 0
    return problems


async def _follow(worker: Worker, run: str, dispatch: DispatchSettings) -> None:
    state, artifacts = _FollowerState(), RunArtifacts(run)
    reached_at, wait = time.monotonic(), 0.0
    with worker_session(worker, run, current_flow_run_id(), follows_only=True):
        while True:
            await asyncio.sleep(wait)
            wait = POLL_SECONDS
            try:
                snapshot = await asyncio.to_thread(_read_snapshot, worker, run, dispatch)
                is_finished = await _act(worker, run, dispatch, snapshot, state)
                await artifacts.update(snapshot.progress)
                reached_at = time.monotonic()
            except (httpx.HTTPError, PrefectException, DeepSoundError) as error:
                if not _is_temporary(error) or time.monotonic() - reached_at > MAX_OUTAGE_SECONDS:
                    raise
                log.warning("run %s waits for this outage to end: %s", run, error)
                state.silent_since.clear()
                continue
            if is_finished:
                await artifacts.finish(snapshot.progress)
                return


async def _act(
    worker: Worker, run: str, dispatch: DispatchSettings, snapshot: _LedgerSnapshot, state: _FollowerState
) -> bool:
    """Compares the open shards with the open items and acts on the difference. True once the follower can end.

    Raises PrefectNotStartedError, and pauses the run, if shards keep ending without ending a video.
    """
    deployed = await deployments.open_flow_runs(SHARD_FLOW, dispatch.pool, run)
    _count_fruitless(snapshot, deployed, state)
    if state.fruitless >= MAX_FRUITLESS_SHARDS:
        raise await asyncio.to_thread(pause_stalled_run, worker, run, state.fruitless)
    shards = _shards(deployed, snapshot, state)
    actions = next_shard_actions(snapshot.open, shards, is_active=snapshot.is_active, size=snapshot.size)
    for flow_run in actions.mark_crashed:
        log.warning("shard %s of run %s lost its worker; other shards take its videos", flow_run, run)
        await deployments.mark_crashed(flow_run)
    await deployments.cancel_flow_runs(actions.cancel)
    started = [
        await deployments.start_flow_run(
            SHARD_FLOW, dispatch.pool, run, {"run": run, "items": list(items)}, dispatch.priority
        )
        for items in actions.start
    ]
    state.known = frozenset({shard.id for shard in deployed if shard.id not in actions.mark_crashed} | {*started})
    return actions.is_finished


def _shards(deployed: Sequence[OpenFlowRun], snapshot: _LedgerSnapshot, state: _FollowerState) -> list[Shard]:
    """The open shards with their states. A shard has vanished once it stays silent for a heartbeat interval: right
    after an outage of the ledger, a live worker may not have sent its next heartbeat yet.
    """
    now = time.monotonic()
    silent = {flow_run.id for flow_run in deployed if snapshot.liveness.is_silent(flow_run)}
    state.silent_since = {flow_run: state.silent_since.get(flow_run, now) for flow_run in silent}
    vanished = frozenset(each for each in silent if now - state.silent_since[each] > lease_seconds() / 4)
    return [
        Shard(each.id, frozenset(each.parameters.get("items", ())), _shard_state(each, vanished))
        for each in deployed
    ]


def _shard_state(shard: OpenFlowRun, vanished: frozenset[str]) -> ShardState:
    if shard.id in vanished:
        return ShardState.VANISHED
    return ShardState.WAITING if shard.running is None else ShardState.WORKING


def _count_fruitless(snapshot: _LedgerSnapshot, deployed: Sequence[OpenFlowRun], state: _FollowerState) -> None:
    """Counts the shards that ended in a row without ending a video."""
    ended = state.known - {flow_run.id for flow_run in deployed}
    open_now = len(snapshot.open)
    if open_now != state.open_items:
        state.fruitless = 0
    elif snapshot.is_active:
        state.fruitless += len(ended)
    state.open_items = open_now


def _dispatch_settings(worker: Worker, run: str) -> DispatchSettings | None:
    with worker.ledger.read() as session:
        submission = find_submission(session, run)
    if submission is None:
        return None
    budget = submission.get("budget_gpu_hours")
    return DispatchSettings(
        pool=str(submission["pool"]),
        priority=Priority(str(submission["priority"])),
        budget_hours=float(budget) if isinstance(budget, int | float) else None,
    )


def _read_snapshot(worker: Worker, run: str, dispatch: DispatchSettings) -> _LedgerSnapshot:
    with worker.ledger.write() as session:
        if dispatch.budget_hours is not None:
            pause_if_budget_spent(session, run, dispatch.budget_hours, by=this_owner())
        progress = run_progress(session, run)
        if progress is None:
            raise no_such_run(session, run)
        return _LedgerSnapshot(
            open=open_items(session, run),
            is_active=run_state(session, run) is RunState.ACTIVE,
            liveness=read_liveness(session, run),
            size=shard_size(seconds_per_item(session, run)),
            progress=progress,
        )


def _state(worker: Worker, run: str) -> RunState:
    with worker.ledger.read() as session:
        return run_state(session, run)


def _is_temporary(error: Exception) -> bool:
    """True for an outage that can end by itself; a missing deployment cannot."""
    if isinstance(error, DeepSoundError):
        return error.is_retryable
    return not isinstance(error, PrefectHTTPStatusError) or error.response.status_code >= 500
