"""The child's side of a request: it reports progress and sends blocks in shared memory."""

import os
import socket
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from deepsound.canonical_json import Json
from deepsound.media.sandbox import ipc
from deepsound.media.sandbox.limits import SandboxLimits

BLOCKS_AHEAD = 2
"""Blocks sent and not yet released: the parent uses one while the child fills the next."""

_BETWEEN_REPORTS = 1.0  # seconds


@dataclass(slots=True)
class ChildChannel:
    """The connection to the parent, for one request."""

    end: socket.socket
    limits: SandboxLimits
    _last_report: float = field(default_factory=time.monotonic)
    _sent: deque[int] = field(default_factory=deque[int])
    _free: list[int] = field(default_factory=list[int])

    def report_progress(self) -> None:
        """Tell the parent that the work goes on, at most once a second, and renew the processor time."""
        now = time.monotonic()
        if now - self._last_report >= _BETWEEN_REPORTS:
            self._last_report = now
            self.limits.renew()
            ipc.send(self.end, {"alive": True})

    def memory(self) -> int:
        """Return the descriptor of memory for a block: reused where possible, since new memory costs more."""
        return self._free.pop() if self._free else os.memfd_create("frames")

    def send_block(self, memory: int, header: Json) -> None:
        """Send the block in `memory`, once the parent holds fewer than `BLOCKS_AHEAD` blocks."""
        while len(self._sent) >= BLOCKS_AHEAD:
            self._take_back()
        ipc.send(self.end, {"block": header}, memory)
        self._sent.append(memory)

    def settle(self) -> None:
        """Wait until the parent has released every block, and free their memory."""
        while self._sent:
            self._take_back()
        while self._free:
            os.close(self._free.pop())

    @contextmanager
    def current(self) -> Generator[None]:
        """Make this the channel to which `report_progress` reports inside the block."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def _take_back(self) -> None:
        answer, _ = ipc.receive(self.end)
        memory = self._sent.popleft()
        if answer["free"]:
            self._free.append(memory)
        else:
            os.close(memory)


_current: ContextVar[ChildChannel | None] = ContextVar("current", default=None)


def report_progress() -> None:
    """Report progress on the current request's channel; does nothing outside a sandboxed process."""
    channel = _current.get()
    if channel is not None:
        channel.report_progress()
