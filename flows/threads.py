"""How many videos a process drives at once, and the threads that do it."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import ParamSpec, TypeVar

from deepsound.backends import load_reasoner
from deepsound.errors import DeepSoundError
from deepsound.reasoning.protocol import AnswersTogether
from tasks.job import Job

VIDEOS_AT_ONCE = max(2, os.cpu_count() or 1)
"""On the processor: what one waits for on a disk or a network, another computes."""

_threads: ContextVar[ThreadPoolExecutor] = ContextVar("threads")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def videos_at_once(jobs: Sequence[Job]) -> int:
    """Of these: those that keep the processor busy, and beside them those that a generator or a reasoner of theirs
    works on together. Those wait for a device, not for the processor, which meanwhile reads the next and finishes
    the last.
    """
    of_each_pair = {(job.settings.generator, job.settings.reasoner): job for job in jobs}.values()
    together = max((at_once for job in of_each_pair for at_once in _together(job)), default=1)
    return VIDEOS_AT_ONCE + (together if together > 1 else 0)


def _together(job: Job) -> Iterator[int]:
    """What cannot be loaded is left out: the step that needs it says why."""
    for number in (1, 2):
        with suppress(DeepSoundError):
            yield job.generator(number).at_once
    with suppress(DeepSoundError):
        reasoner = load_reasoner(job.settings.reasoner)
        if isinstance(reasoner, AnswersTogether):
            yield reasoner.at_once


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Up to so many threads for `on_thread`; the event loop's own may be fewer than the videos driven at once."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="video")
    token = _threads.set(pool)
    try:
        yield
    finally:
        _threads.reset(token)
        # A step that hangs was given up by then: nobody waits for its thread.
        pool.shutdown(wait=False)


async def on_thread(
    work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Run blocking work on one of the `threads`, in this context."""
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(
        _threads.get(), lambda: context.run(work, *args, **kwargs)
    )
