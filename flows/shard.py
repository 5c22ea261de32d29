"""A shard: some videos of a run in one process, which loads its models once and drives them to their ends.

The ledger is the record and Prefect is the engine: parameters are ids, a video's failure is a row and never an
exception of the flow, and finished steps make no Prefect task. Flows are async: Prefect 3.8 makes every sync flow
run wait a second for its heartbeat thread.
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
"""16 to 64 videos a flow run keep Prefect's own cost under 20 ms a video, as measured with Prefect 3.8."""

STEP_TIMEOUT_SECONDS = 6 * 3600
"""A step that takes longer than this on one video hangs."""

STEP_RETRIES = 3

STATE_POLL_SECONDS = 2.0
"""How old may be what is known of a pause or a cancellation: steps take longer."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """The items that this flow run drives: each by its id, in its present state."""

    worker: Worker
    items: dict[int, Item]


_shard: ContextVar[_Shard] = ContextVar("shard")


def _may_pass(task: Task[..., object], run: TaskRun, state: State) -> bool:  # noqa: ARG001 - Prefect's signature
    """Retry what can pass by itself, and nothing else."""
    return isinstance(state.data, DeepSoundError) and state.data.is_retryable


@task(
    name="step",
    task_run_name="{step} · {reel}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=STEP_RETRIES,
    retry_delay_seconds=exponential_backoff(2),
    retry_jitter_factor=0.5,
    retry_condition_fn=_may_pass,
    timeout_seconds=STEP_TIMEOUT_SECONDS,
)
async def step_task(step: Step, reel: str, item: int, number: int) -> None:
    """One step of one video, on a thread: models and codecs block."""
    shard = _shard.get()
    action = shard.items[item].next_action()
    if action is None or (action.step, action.round) != (step, number):
        raise InternalError(f"{step} is not what comes next", where=reel)
    prefect = _prefect_run()
    if not prefect.is_first_try:
        # What went away is given time to come back before the tries run out on it. Where it does not, or this
        # is no place to wait, the step says so.
        with suppress(DeepSoundError):
            await retry_through_outage(check_access, shard.worker)
    shard.items[item] = await run_on_video_thread(run_step, shard.worker, shard.items[item], action, prefect)


class _StateCheck:
    """Whether the run may go on, asked of the ledger now and then."""

    def __init__(self, worker: Worker, run: str) -> None:
        self._worker, self._run = worker, run
        self._asked, self._given = 0.0, True

    async def is_given(self) -> bool:
        """False once the run was paused, cancelled, or ran out of its budget."""
        if time.monotonic() - self._asked > STATE_POLL_SECONDS:
            self._asked = time.monotonic()
            self._given = await retry_through_outage(is_active, self._worker, self._run)
        return self._given


@flow(name="dub-shard", flow_run_name="shard of {run}", validate_parameters=False)
async def dub_shard(run: str, items: list[int]) -> None:
    """Drive some videos of a run to their ends; models are loaded once and shared by all."""
    set_up_telemetry()
    worker = await retry_through_outage(open_worker, current_store_urls())
    # Before what takes long: whoever is not seen at work is taken for vanished.
    with worker_session(worker, run, current_flow_run_id()):
        loaded = await retry_through_outage(load_items, worker, run, items)
        if not loaded:
            return
        # Where this machine is refused, for a wrong clock or wrong credentials, the videos are left to others.
        await retry_through_outage(check_access, worker)
        shard = _Shard(worker, {item.id: item for item in loaded})
        _shard.set(shard)
        with video_threads(len(loaded)):
            ends = await _drive_all(shard, _StateCheck(worker, run))
    for end in ends:
        if end is not None:
            raise end


async def _drive_all(shard: _Shard, leave: _StateCheck) -> list[BaseException | None]:
    """What goes wrong outside a step, say Prefect's server vanishing, is told when the others are through."""
    items = list(shard.items.values())
    at_once = asyncio.Semaphore(await asyncio.to_thread(concurrent_videos, items))
    together = (_drive(shard, item.id, at_once, leave) for item in items if item.deaths == 0)
    ends = await asyncio.gather(*together, return_exceptions=True)
    # One by one and last, where a worker vanished before: if it happens again, it was this video.
    for item in items:
        if item.deaths > 0:
            ends += await asyncio.gather(_drive(shard, item.id, at_once, leave), return_exceptions=True)
    return ends


async def _drive(shard: _Shard, item_id: int, at_once: asyncio.Semaphore, leave: _StateCheck) -> None:
    """One video from where it stands to its end, or to where the run was stopped.

    It fails alone; one that another worker is at is left to that one.
    """
    name = shard.items[item_id].name
    async with at_once:
        try:
            while (action := shard.items[item_id].next_action()) is not None:
                if not await leave.is_given():
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
    """One step under Prefect. What went wrong is in the ledger before it is raised (DeepSoundError)."""
    item = shard.items[item_id]
    try:
        await step_task(action.step, item.name, item_id, action.round)
    except TimeoutError as error:
        hanging = TimedOutError(
            f"{action.step} took over {STEP_TIMEOUT_SECONDS // 3600} hours",
            where=item.name,
            remedy="look at the file, then run the same command again",
        )
        await asyncio.to_thread(record_failure, shard.worker, item, action, hanging)
        raise hanging from error


def current_flow_run_id() -> str | None:
    """The id of the flow run that this is part of; None outside of one."""
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else None


def _prefect_run() -> PrefectRun:
    """What the step's attempt refers to, and whether Prefect has tries left for it."""
    context = TaskRunContext.get()
    if context is None:
        return LAST_TRY
    run = context.task_run
    flow_run = str(run.flow_run_id) if run.flow_run_id else None
    tries = run.run_count
    return PrefectRun(flow_run, str(run.id), is_first_try=tries <= 1, is_last_try=tries > STEP_RETRIES)
