"""How many videos one process works on concurrently, and the threads for them."""

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
from deepsound.reasoning.protocol import SupportsConcurrency
from tasks.runtime.backend_choice import choose_generator
from tasks.runtime.item import Item
from tasks.runtime.run_settings import RunSettings

CPU_BOUND_VIDEOS = max(2, os.cpu_count() or 1)
"""Concurrent videos that the CPU can serve: while one waits for disk or network, another computes."""

_busy = set[threading.Thread]()
"""Threads that are executing a step."""

_threads: ContextVar[ThreadPoolExecutor] = ContextVar("threads")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def concurrent_videos(items: Iterable[Item]) -> int:
    """Returns `CPU_BOUND_VIDEOS` plus the largest batch that a generator or reasoner of these videos accepts.

    Videos in such a batch wait for the GPU or a server, so the CPU can decode and finish others meanwhile.
    """
    backends = {(item.settings.generator, item.settings.reasoner): item.settings for item in items}.values()
    batch = max((size for settings in backends for size in _batch_sizes(settings)), default=1)
    return CPU_BOUND_VIDEOS + (batch if batch > 1 else 0)


def _batch_sizes(settings: RunSettings) -> Iterator[int]:
    """Skips a backend that fails to load; the step that needs it reports the cause."""
    for number in (1, 2):
        with suppress(DeepSoundError):
            yield choose_generator(settings, number).concurrency
    with suppress(DeepSoundError):
        reasoner = load_reasoner(settings.reasoner)
        if isinstance(reasoner, SupportsConcurrency):
            yield reasoner.concurrency


@contextmanager
def video_threads(count: int) -> Generator[None]:
    """Provides `count` threads for `run_on_video_thread`; the event loop's default pool may have fewer."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="video")
    token = _threads.set(pool)
    try:
        yield
    finally:
        _threads.reset(token)
        # A step that exceeded its timeout may still block its thread, so shutdown does not wait for threads.
        pool.shutdown(wait=False)
        if _belongs_to_prefect_worker() and _busy:
            threading._register_atexit(_exit_without_joining)  # pyright: ignore[reportAttributeAccessIssue]


def _belongs_to_prefect_worker() -> bool:
    """True if a Prefect worker started this process for a single flow run."""
    return "PREFECT__FLOW_RUN_ID" in os.environ


def _exit_without_joining() -> None:
    """Runs when the main thread ends; by then Prefect knows the final state of the flow run.

    Without it, the interpreter joins every thread, so one blocked thread keeps the process and its worker slot
    forever. `threading._register_atexit` is needed because `concurrent.futures` joins its threads in a callback of
    the same kind, registered earlier and so called later; plain `atexit` callbacks run after that join.
    """
    logging.shutdown()
    os._exit(0)


async def run_on_video_thread(
    work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Runs blocking work on one of the `video_threads`, in the caller's context variables."""
    context = copy_context()

    def tracked() -> Result:
        _busy.add(threading.current_thread())
        try:
            return context.run(work, *args, **kwargs)
        finally:
            _busy.discard(threading.current_thread())

    return await asyncio.get_running_loop().run_in_executor(_threads.get(), tracked)
