"""Signs of progress of whatever reads a media file, for whoever decides how long to wait for it."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar


def _nobody() -> None:
    """Nobody listens."""


_listener: ContextVar[Callable[[], None]] = ContextVar("listener", default=_nobody)


def progressed() -> None:
    """Another packet was read, or another frame passed."""
    _listener.get()()


@contextmanager
def listening_to_reads(listener: Callable[[], None]) -> Generator[None]:
    """Call `listener` at every sign of progress inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
