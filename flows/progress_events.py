"""Progress events of flows in this process, for the terminal's progress display."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from deepsound.pipeline import OutcomeKind, Step


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """A step of an item started, or the item ended with an outcome."""

    item: str
    step: Step | None = None
    outcome: OutcomeKind | None = None


Listener = Callable[[ProgressEvent], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def progress_listener(listener: Listener) -> Generator[None]:
    """Sends events of flows that start inside the block, in this process, to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def emit(event: ProgressEvent) -> None:
    """Calls the listener, if there is one."""
    if (listener := _listener.get()) is not None:
        listener(event)
