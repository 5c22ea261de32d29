"""How many videos a process drives at once, and the threads that do it."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import ParamSpec, TypeVar

from deepsound.backends import load_reasoner
from deepsound.errors import DeepSoundError
from deepsound.reasoning.protocol import AnswersTogether
from tasks.runtime.backend_choice import choose_generator
from tasks.runtime.item import Item
from tasks.runtime.run_settings import RunSettings

CPU_BOUND_VIDEOS = max(2, os.cpu_count() or 1)
"""On the processor: what one waits for on a disk or a network, another computes."""

_at_work = set[threading.Thread]()
"""The threads that are in the middle of a step."""

_threads: ContextVar[ThreadPoolExecutor] = ContextVar("threads")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def concurrent_videos(items: Iterable[Item]) -> int:
    """Of these: those that keep the processor busy, and beside them those that a generator or a reasoner of theirs
    works on together. Those wait for a device, not for the processor, which meanwhile reads the next and finishes
    the last.
    """
    backends = {(item.settings.generator, item.settings.reasoner): item.settings for item in items}.values()
    together = max((at_once for settings in backends for at_once in _together(settings)), default=1)
    return CPU_BOUND_VIDEOS + (together if together > 1 else 0)


def _together(settings: RunSettings) -> Iterator[int]:
    """What cannot be loaded is left out: the step that needs it says why."""
    for number in (1, 2):
        with suppress(DeepSoundError):
            yield choose_generator(settings, number).at_once
    with suppress(DeepSoundError):
        reasoner = load_reasoner(settings.reasoner)
        if isinstance(reasoner, AnswersTogether):
            yield reasoner.at_once


@contextmanager
def video_threads(count: int) -> Generator[None]:
    """A pool of `count` threads for `run_on_video_thread`; the event loop's own pool may have fewer."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="video")
    token = _threads.set(pool)
    try:
        yield
    finally:
        _threads.reset(token)
        # A step that hangs was given up by then: nobody waits for its thread.
        pool.shutdown(wait=False)
        if _is_workers() and _at_work:
            threading._register_atexit(_end_without_waiting)  # pyright: ignore[reportAttributeAccessIssue]


def _is_workers() -> bool:
    """Whether this process was started by a Prefect worker for one flow run, and is nobody else's."""
    return "PREFECT__FLOW_RUN_ID" in os.environ


def _end_without_waiting() -> None:
    """Called when the main thread ends, by when the flow run has ended and Prefect knows how.

    Python would wait for every thread now, and a worker for the process: one that hangs would keep its slot for
    ever. What `concurrent.futures` waits by is called in the same way, and after this; `atexit` would be too late.
    """
    logging.shutdown()
    os._exit(0)


async def run_on_video_thread(
    work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Run blocking work on one of the `video_threads`, in this context."""
    context = copy_context()

    def work_here() -> Result:
        _at_work.add(threading.current_thread())
        try:
            return context.run(work, *args, **kwargs)
        finally:
            _at_work.discard(threading.current_thread())

    return await asyncio.get_running_loop().run_in_executor(_threads.get(), work_here)
