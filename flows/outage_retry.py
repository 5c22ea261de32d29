"""Retries ledger and store access through temporary outages: a restart, a hang, a lost connection."""

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
"""Longest outage that a flow waits for. After that the flow run fails; finished steps stay in the ledger."""

RETRY_INTERVAL_SECONDS = 5.0

_max_outage: ContextVar[float] = ContextVar("max_outage", default=MAX_OUTAGE_SECONDS)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@contextmanager
def without_outage_retry() -> Generator[None]:
    """Reports an outage at once inside the block, for commands with a user at a terminal."""
    token = _max_outage.set(0.0)
    try:
        yield
    finally:
        _max_outage.reset(token)


async def retry_through_outage(
    work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Runs blocking work on a thread and repeats it every 5 s while it raises a retryable error.

    Raises DeepSoundError if the error is not retryable, or if the outage lasts longer than `MAX_OUTAGE_SECONDS`.
    """
    started = time.monotonic()
    while True:
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        except DeepSoundError as error:
            if not error.is_retryable or time.monotonic() - started >= _max_outage.get():
                raise
            log.warning("waiting for this outage to end: %s", error)
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)
