"""The `dub-shard` flow: one process loads the models once and takes some videos of a run through their steps.

Flow parameters are ids. A video's failure is a row of the ledger, not an exception of the flow. Finished steps
create no Prefect task. Flows are async because in Prefect 3.8 every sync flow run waits a second for its heartbeat
thread.
"""

import asyncio
import time
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass

from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.tasks import exponential_backoff

from deepsound.errors import DeepSoundError, ErrorCode, InternalError, TimedOutError
from deepsound.pipeline import Action, OutcomeKind, Step
from flows.concurrency import concurrent_videos, run_on_video_thread, video_threads
from flows.outage_retry import retry_through_outage
from flows.progress_events import ProgressEvent, emit
from tasks.operations.item_loading import load_items
from tasks.operations.run_activity import is_active
from tasks.runtime.heartbeat import worker_session
from tasks.runtime.item import Item
from tasks.runtime.item_footage import evict_footage
from tasks.runtime.stores import current_store_urls
from tasks.runtime.telemetry import set_up_telemetry
from tasks.runtime.worker import Worker, check_access, open_worker
from tasks.steps.recording import LAST_TRY, PrefectRun, record_failure
from tasks.steps.runner import reuse_step, run_step

LOCAL_SHARD_SIZE = 32
"""Videos of a shard in `deepsound dub`. With 16 to 64, Prefect 3.8 costs under 20 ms per video."""

STEP_TIMEOUT_SECONDS = 6 * 3600
"""Timeout of one step of one video."""

STEP_RETRIES = 3

STATE_POLL_SECONDS = 2.0
"""Shortest interval between two queries of the run's state, per shard."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """The items of this flow run by their ids, each in its current state."""

    worker: Worker
    items: dict[int, Item]


_shard: ContextVar[_Shard] = ContextVar("shard")


def _should_retry(task: Task[..., object], run: TaskRun, state: State) -> bool:  # noqa: ARG001 - Prefect's signature
    """Retries only retryable errors."""
    return isinstance(state.data, DeepSoundError) and state.data.is_retryable


@task(
    name="step",
    task_run_name="{step} · {video}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=STEP_RETRIES,
    retry_delay_seconds=exponential_backoff(2),
    retry_jitter_factor=0.5,
    retry_condition_fn=_should_retry,
    timeout_seconds=STEP_TIMEOUT_SECONDS,
)
async def step_task(step: Step, video: str, item: int, number: int) -> None:
    """Runs one step of one video on a thread, because models and codecs block."""
    shard = _shard.get()
    action = shard.items[item].next_action()
    if action is None or (action.step, action.round) != (step, number):
        raise InternalError(f"{step} is not the next step", where=video)
    prefect = _prefect_run()
    if not prefect.is_first_try:
        # Wait for an outage to end before using up another retry. If it does not end, the step records the error.
        with suppress(DeepSoundError):
            await retry_through_outage(check_access, shard.worker)
    shard.items[item] = await run_on_video_thread(run_step, shard.worker, shard.items[item], action, prefect)


class _StateCheck:
    """Caches whether the run may continue; queries the ledger at most every `STATE_POLL_SECONDS`."""

    def __init__(self, worker: Worker, run: str) -> None:
        self._worker, self._run = worker, run
        self._checked_at, self._is_active = 0.0, True

    async def is_active(self) -> bool:
        """False once the run is paused, cancelled, or has spent its budget."""
        if time.monotonic() - self._checked_at > STATE_POLL_SECONDS:
            self._checked_at = time.monotonic()
            self._is_active = await retry_through_outage(is_active, self._worker, self._run)
        return self._is_active


@flow(name="dub-shard", flow_run_name="shard of {run}", validate_parameters=False)
async def dub_shard(run: str, items: list[int]) -> None:
    """Takes some videos of a run through their steps; all of them share the loaded models."""
    set_up_telemetry()
    worker = await retry_through_outage(open_worker, current_store_urls())
    # Register first: a shard without heartbeat counts as vanished after the start-up grace.
    with worker_session(worker, run, current_flow_run_id()):
        loaded = await retry_through_outage(load_items, worker, run, items)
        if not loaded:
            return
        # A machine with wrong credentials or a wrong clock fails here, which leaves the videos to other workers.
        await retry_through_outage(check_access, worker)
        shard = _Shard(worker, {item.id: item for item in loaded})
        _shard.set(shard)
        with video_threads(len(loaded)):
            ends = await _drive_all(shard, _StateCheck(worker, run))
    for end in ends:
        if end is not None:
            raise end


async def _drive_all(shard: _Shard, state: _StateCheck) -> list[BaseException | None]:
    """Returns errors from outside of steps, such as a lost Prefect server, after all other videos have ended."""
    items = list(shard.items.values())
    at_once = asyncio.Semaphore(await asyncio.to_thread(concurrent_videos, items))
    healthy = (_drive(shard, item.id, at_once, state) for item in items if item.deaths == 0)
    ends = await asyncio.gather(*healthy, return_exceptions=True)
    # Videos whose worker was lost come last and one by one, so that a second loss can be attributed.
    for item in items:
        if item.deaths > 0:
            ends += await asyncio.gather(_drive(shard, item.id, at_once, state), return_exceptions=True)
    return ends


async def _drive(shard: _Shard, item_id: int, at_once: asyncio.Semaphore, state: _StateCheck) -> None:
    """Runs the remaining steps of one video until it ends or the run is stopped.

    An error ends this video only. A video that another worker has leased is skipped.
    """
    name = shard.items[item_id].name
    async with at_once:
        try:
            while (action := shard.items[item_id].next_action()) is not None:
                if not await state.is_active():
                    return
                emit(ProgressEvent(name, step=action.step))
                reused = await run_on_video_thread(reuse_step, shard.worker, shard.items[item_id], action)
                if reused is not None:
                    shard.items[item_id] = reused
                else:
                    await _run(shard, item_id, action)
            emit(ProgressEvent(name, outcome=shard.items[item_id].outcome))
        except DeepSoundError as error:
            if error.code is not ErrorCode.LEASE_LOST:
                emit(ProgressEvent(name, outcome=OutcomeKind.FAILED))
        finally:
            evict_footage(shard.items[item_id], shard.worker.footage)


async def _run(shard: _Shard, item_id: int, action: Action) -> None:
    """Runs one step as a Prefect task. Records an error in the ledger before raising it as DeepSoundError."""
    item = shard.items[item_id]
    try:
        await step_task(action.step, item.name, item_id, action.round)
    except TimeoutError as error:
        timed_out = TimedOutError(
            f"{action.step} took over {STEP_TIMEOUT_SECONDS // 3600} hours",
            where=item.name,
            remedy="check the file, then run the same command again",
        )
        await asyncio.to_thread(record_failure, shard.worker, item, action, timed_out)
        raise timed_out from error


def current_flow_run_id() -> str | None:
    """The id of the current flow run; None outside of a flow run."""
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else None


def _prefect_run() -> PrefectRun:
    """The Prefect ids that the attempt records, and whether Prefect will retry the step."""
    context = TaskRunContext.get()
    if context is None:
        return LAST_TRY
    run = context.task_run
    flow_run = str(run.flow_run_id) if run.flow_run_id else None
    tries = run.run_count
    return PrefectRun(flow_run, str(run.id), is_first_try=tries <= 1, is_last_try=tries > STEP_RETRIES)
