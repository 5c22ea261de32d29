"""What runs where and when: an archive is cut into shards, a shard drives its videos through their steps.

The ledger is the record and Prefect is the engine: parameters are ids, a video's
failure is a row and never an exception of the flow, and finished steps make no Prefect task.
Flows are async: Prefect 3.8 makes every sync flow run wait a second for its heartbeat thread.
"""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.deployments import arun_deployment
from prefect.tasks import exponential_backoff

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.pipeline import Action, OutcomeKind, Step
from flows.progress import Event, tell
from flows.threads import on_thread, threads, videos_at_once
from tasks.job import Job
from tasks.perform import LAST_TRY, PrefectRun, fail, perform, reuse
from tasks.place import current_place
from tasks.run import load_jobs, unfinished_items
from tasks.shift import on_shift
from tasks.worker import worker_at

SHARD_SIZE = 32
"""16 to 64 videos a flow run keep Prefect's own cost under 20 ms a video, as measured with Prefect 3.8."""

SHARDS_IN_FLIGHT = 8
"""Enough to keep the workers of a pool busy; hundreds of waiting runs block a Prefect server (its issue 19403)."""

STEP_TIMEOUT_SECONDS = 6 * 3600
"""A step that takes longer than this on one video hangs."""

RETRIES = 3

_jobs: ContextVar[dict[int, Job]] = ContextVar("jobs")


def _may_pass(task: Task, run: TaskRun, state: State) -> bool:  # noqa: ARG001 - Prefect's signature
    """Retry what can pass by itself, and nothing else."""
    return isinstance(state.data, DeepSoundError) and state.data.code.is_retryable


@task(
    name="step",
    task_run_name="{step} · {reel}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(2),
    retry_jitter_factor=0.5,
    retry_condition_fn=_may_pass,
    timeout_seconds=STEP_TIMEOUT_SECONDS,
)
async def run_step(step: Step, reel: str, item: int, number: int) -> None:
    """One step of one video, on a thread: models and codecs block."""
    job = _jobs.get()[item]
    action = job.next_action()
    if action is None or (action.step, action.round) != (step, number):
        raise DeepSoundError(ErrorCode.INTERNAL, f"{step} is not what comes next", where=reel)
    await on_thread(perform, job, action, _prefect_run())


@flow(name="dub-shard", flow_run_name="shard of {run}", validate_parameters=False)
async def dub_shard(run: str, items: list[int]) -> None:
    """Drive some videos of a run to their ends; models are loaded once and shared by all."""
    worker = await asyncio.to_thread(worker_at, current_place())
    jobs = await asyncio.to_thread(load_jobs, worker, run, items)
    _jobs.set({job.item_id: job for job in jobs})
    if not jobs:
        return
    at_once = asyncio.Semaphore(await asyncio.to_thread(videos_at_once, jobs[0]))
    with on_shift(worker, run, _flow_run()), threads(len(jobs)):
        # What goes wrong outside a step, say Prefect's server vanishing, is told when the others are through.
        ends = await asyncio.gather(
            *(_drive(job, at_once) for job in jobs if job.deaths == 0), return_exceptions=True
        )
        # One by one and last, where a worker vanished before: if it happens again, it was this video.
        for job in jobs:
            if job.deaths > 0:
                ends += await asyncio.gather(_drive(job, at_once), return_exceptions=True)
    for end in ends:
        if end is not None:
            raise end


@flow(name="dub-archive", flow_run_name="archive run {run}", validate_parameters=False)
async def dub_archive(run: str) -> None:
    """Cut what is left of a run into shards; they run where this flow runs.

    Started from a deployment, every shard becomes a run of the shard deployment, for any worker of its pool;
    started in a process, the shards follow each other in it.
    """
    worker = await asyncio.to_thread(worker_at, current_place())
    items = await asyncio.to_thread(unfinished_items, worker, run)
    shards = [items[start : start + SHARD_SIZE] for start in range(0, len(items), SHARD_SIZE)]
    context = FlowRunContext.get()
    deployed = context is not None and context.flow_run is not None and context.flow_run.deployment_id is not None
    if deployed:
        in_flight = asyncio.Semaphore(SHARDS_IN_FLIGHT)
        await asyncio.gather(*(_submit(run, shard, in_flight) for shard in shards))
        return
    for shard in shards:
        await dub_shard(run, shard)


async def _submit(run: str, shard: Sequence[int], in_flight: asyncio.Semaphore) -> None:
    """One shard as a run of its deployment, followed to its end."""
    async with in_flight:
        await arun_deployment("dub-shard/dub-shard", parameters={"run": run, "items": list(shard)})


async def _drive(job: Job, at_once: asyncio.Semaphore) -> None:
    """One video from where it stands to its end. It fails alone; one another worker is at is left to that one."""
    async with at_once:
        try:
            while (action := job.next_action()) is not None:
                tell(Event(job.name, step=action.step))
                if not await on_thread(reuse, job, action):
                    await _run(job, action)
            tell(Event(job.name, outcome=job.outcome))
        except DeepSoundError as error:
            if error.code is not ErrorCode.LEASE_LOST:
                tell(Event(job.name, outcome=OutcomeKind.FAILED))
        finally:
            job.let_go()


async def _run(job: Job, action: Action) -> None:
    """One step under Prefect. What went wrong is in the ledger before it is raised (DeepSoundError)."""
    try:
        await run_step(action.step, job.name, job.item_id, action.round)
    except TimeoutError as error:
        hanging = DeepSoundError(
            ErrorCode.TIMED_OUT,
            f"{action.step} took over {STEP_TIMEOUT_SECONDS // 3600} hours",
            where=job.name,
            remedy="look at the file, then run the same command again",
        )
        await asyncio.to_thread(fail, job, action, hanging)
        raise hanging from error


def _flow_run() -> str | None:
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else None


def _prefect_run() -> PrefectRun:
    """What the step's attempt refers to, and whether Prefect has tries left for it."""
    context = TaskRunContext.get()
    if context is None:
        return LAST_TRY
    run = context.task_run
    flow_run = str(run.flow_run_id) if run.flow_run_id else None
    return PrefectRun(flow_run, str(run.id), is_last_try=run.run_count > RETRIES)
