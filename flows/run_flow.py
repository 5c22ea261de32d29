"""An archive run from its first shard to its last video, wherever its shards run.

A run that was submitted to a pool is followed: shards are started as workers come free, what a vanished one left
is given to others, and a pause, a cancellation or a spent budget ends it in order. A run without a pool is driven
in this process. Either way the ledger says what is left to do, so this flow can die and be started again.
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
from db.state.budget import pause_if_budget_spent
from db.state.lease_owner import this_owner
from db.write.run_events import RunState, find_submission, run_state
from db.write.worker_sessions import lease_seconds, seconds_per_item
from deepsound.errors import DeepSoundError
from flows import deployments
from flows.deployments import SHARD_FLOW, OpenFlowRun
from flows.outage_retry import MAX_OUTAGE_SECONDS, retry_through_outage
from flows.prefect_artifacts import RunArtifacts
from flows.scheduler import Shard, ShardState, next_shard_actions, shard_size
from flows.shard import LOCAL_SHARD_SIZE, current_flow_run_id, dub_shard
from flows.supervisor import WorkerLiveness, pause_stalled_run, read_liveness
from tasks.operations.run_activity import no_such_run, unfinished_items
from tasks.operations.sealing import seal_if_closed
from tasks.operations.submission import Priority
from tasks.runtime.heartbeat import worker_session
from tasks.runtime.stores import current_store_urls
from tasks.runtime.worker import Worker, open_worker

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0
MAX_FRUITLESS_SHARDS = 5
"""So many shards in a row that end without ending a video: whatever is wrong is wrong with all of them."""


@flow(name="dub-archive", flow_run_name="archive run {run}", validate_parameters=False)
async def dub_archive(run: str) -> list[str]:
    """Bring every video of a run to its end.

    Returns what went wrong with shards in this process outside of steps, a line each; their videos stay open.
    Raises DeepSoundError where nothing can run at all.
    """
    worker = await retry_through_outage(open_worker, current_store_urls())
    order = await retry_through_outage(_order, worker, run)
    if order is not None:
        await _follow(worker, run, order)
        await retry_through_outage(seal_if_closed, worker, run)
        return []
    return await _drive_here(worker, run)


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """What was asked when a run was submitted."""

    pool: str
    priority: Priority
    budget_hours: float | None


@dataclass(slots=True)
class _FollowerState:
    """What is remembered between two looks; all else is in the ledger and in Prefect."""

    silent_since: dict[str, float] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    left: int = 0
    fruitless: int = 0


@dataclass(frozen=True, slots=True)
class _LedgerSnapshot:
    """What one look at the ledger says."""

    open: Sequence[OpenItem]
    may_go_on: bool
    signs: WorkerLiveness
    size: int
    progress: RunProgress


async def _drive_here(worker: Worker, run: str) -> list[str]:
    """Shard after shard in this process; what is wrong with one, the others need not have."""
    items, told, failed_in_a_row = await asyncio.to_thread(unfinished_items, worker, run), list[str](), 0
    for start in range(0, len(items), LOCAL_SHARD_SIZE):
        if await asyncio.to_thread(_state, worker, run) is not RunState.ACTIVE:
            break
        shard = items[start : start + LOCAL_SHARD_SIZE]
        try:
            await dub_shard(run, shard)
        except DeepSoundError:
            raise  # Ledger, store or settings, which no other shard can do without.
        except Exception as error:
            told.append(f"a shard of {len(shard)} videos failed: {type(error).__name__}: {error}")
            log.exception("%s", told[-1])
            failed_in_a_row += 1
            if failed_in_a_row >= MAX_FRUITLESS_SHARDS:
                raise
        else:
            failed_in_a_row = 0
    return told


async def _follow(worker: Worker, run: str, order: DispatchSettings) -> None:
    memory, shown = _FollowerState(), RunArtifacts(run)
    answered, wait = time.monotonic(), 0.0
    with worker_session(worker, run, current_flow_run_id(), follows_only=True):
        while True:
            await asyncio.sleep(wait)
            wait = POLL_SECONDS
            try:
                books = await asyncio.to_thread(_read_books, worker, run, order)
                is_finished = await _act(worker, run, order, books, memory)
                await shown.update(books.progress)
                answered = time.monotonic()
            except (httpx.HTTPError, PrefectException, DeepSoundError) as error:
                if not _may_pass(error) or time.monotonic() - answered > MAX_OUTAGE_SECONDS:
                    raise
                log.warning("archive run %s goes on once this has passed: %s", run, error)
                memory.silent_since.clear()
                continue
            if is_finished:
                await shown.conclude(books.progress)
                return


async def _act(
    worker: Worker, run: str, order: DispatchSettings, books: _LedgerSnapshot, memory: _FollowerState
) -> bool:
    """One round: look at the shards, do what follows. True once there is nothing left to follow.

    Raises DeepSoundError where shard after shard ends and no video does.
    """
    deployed = await deployments.open_flow_runs(SHARD_FLOW, order.pool, run)
    _count_fruitless(books, deployed, memory)
    if memory.fruitless >= MAX_FRUITLESS_SHARDS:
        raise await asyncio.to_thread(pause_stalled_run, worker, run, memory.fruitless)
    shards = _standing(deployed, books, memory)
    actions = next_shard_actions(books.open, shards, may_go_on=books.may_go_on, size=books.size)
    for flow_run in actions.mark_crashed:
        log.warning("shard %s of run %s vanished with its worker; its videos go to others", flow_run, run)
        await deployments.mark_crashed(flow_run)
    await deployments.cancel_flow_runs(actions.cancel)
    started = [
        await deployments.start_flow_run(
            SHARD_FLOW, order.pool, run, {"run": run, "items": list(items)}, order.priority
        )
        for items in actions.start
    ]
    memory.known = frozenset({shard.id for shard in deployed if shard.id not in actions.mark_crashed} | {*started})
    return actions.is_finished


def _standing(deployed: Sequence[OpenFlowRun], books: _LedgerSnapshot, memory: _FollowerState) -> list[Shard]:
    """Each shard with where it is. One is taken for vanished once looks saw no sign of life for as long as a
    heartbeat takes: after an outage of the ledger, its worker may just not have had its turn to give one.
    """
    now = time.monotonic()
    silent = {each.id for each in deployed if books.signs.is_silent(each)}
    memory.silent_since = {each: memory.silent_since.get(each, now) for each in silent}
    vanished = frozenset(each for each in silent if now - memory.silent_since[each] > lease_seconds() / 4)
    return [
        Shard(each.id, frozenset(each.parameters.get("items", ())), _where(each, vanished)) for each in deployed
    ]


def _where(shard: OpenFlowRun, vanished: frozenset[str]) -> ShardState:
    if shard.id in vanished:
        return ShardState.VANISHED
    return ShardState.WAITING if shard.running is None else ShardState.WORKING


def _count_fruitless(books: _LedgerSnapshot, deployed: Sequence[OpenFlowRun], memory: _FollowerState) -> None:
    """How many shards ended in a row without ending a video."""
    ended = memory.known - {each.id for each in deployed}
    left = len(books.open)
    if left != memory.left:
        memory.fruitless = 0
    elif books.may_go_on:
        memory.fruitless += len(ended)
    memory.left = left


def _order(worker: Worker, run: str) -> DispatchSettings | None:
    with worker.ledger.read() as session:
        asked = find_submission(session, run)
    if asked is None:
        return None
    budget = asked.get("budget_gpu_hours")
    return DispatchSettings(
        pool=str(asked["pool"]),
        priority=Priority(str(asked["priority"])),
        budget_hours=float(budget) if isinstance(budget, int | float) else None,
    )


def _read_books(worker: Worker, run: str, order: DispatchSettings) -> _LedgerSnapshot:
    with worker.ledger.write() as session:
        if order.budget_hours is not None:
            pause_if_budget_spent(session, run, order.budget_hours, by=this_owner())
        progress = run_progress(session, run)
        if progress is None:
            raise no_such_run(run, worker)
        return _LedgerSnapshot(
            open=open_items(session, run),
            may_go_on=run_state(session, run) is RunState.ACTIVE,
            signs=read_liveness(session, run),
            size=shard_size(seconds_per_item(session, run)),
            progress=progress,
        )


def _state(worker: Worker, run: str) -> RunState:
    with worker.ledger.read() as session:
        return run_state(session, run)


def _may_pass(error: Exception) -> bool:
    """Whether waiting can help: servers come back, missing deployments do not."""
    if isinstance(error, DeepSoundError):
        return error.is_retryable
    return not isinstance(error, PrefectHTTPStatusError) or error.response.status_code >= 500
