"""Waiting for what comes back by itself: a ledger or a store that is restarted, hangs or is away for a while."""

import asyncio
import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from deepsound.errors import DeepSoundError

log = logging.getLogger(__name__)

MAX_OUTAGE_SECONDS = 3600.0
"""How long a server may be away before a flow gives up; nothing is lost by either."""

RETRY_INTERVAL_SECONDS = 5.0

_patience: ContextVar[float] = ContextVar("patience", default=MAX_OUTAGE_SECONDS)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@contextmanager
def without_outage_retry() -> Generator[None]:
    """Inside, what is away is not waited for: somebody sits at a terminal and wants to know."""
    token = _patience.set(0.0)
    try:
        yield
    finally:
        _patience.reset(token)


async def retry_through_outage(
    work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Run blocking work on a thread, again and again while what it needs is away.

    Raises DeepSoundError: what waiting does not mend, or what was away for over an hour.
    """
    asked = time.monotonic()
    while True:
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        except DeepSoundError as error:
            if not error.is_retryable or time.monotonic() - asked >= _patience.get():
                raise
            log.warning("this goes on once it has passed: %s", error)
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)
