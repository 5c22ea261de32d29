"""The guarded process's side of a talk about one file: signs of life, and frames in shared memory."""

import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from deepsound.canonical_json import Json
from deepsound.media.sandbox import ipc
from deepsound.media.sandbox.limits import SandboxLimits

BLOCKS_AHEAD = 2
"""Blocks handed over and not yet let go: one is looked at while the next one is filled."""

_BETWEEN_SIGNS = 1.0


@dataclass(slots=True)
class Line:
    """To the process that asked."""

    end: socket.socket
    limits: SandboxLimits
    _last_sign: float = field(default_factory=time.monotonic)
    _handed_over: deque[int] = field(default_factory=deque[int])
    _free: list[int] = field(default_factory=list[int])

    def alive(self) -> None:
        """Say that the work goes on, at most once a second."""
        now = time.monotonic()
        if now - self._last_sign >= _BETWEEN_SIGNS:
            self._last_sign = now
            self.limits.renew()
            ipc.send(self.end, {"alive": True})

    def memory(self) -> int:
        """The descriptor of memory for a block; that of one that was let go, if any: fresh memory costs more."""
        return self._free.pop() if self._free else os.memfd_create("frames")

    def hand_over(self, memory: int, stream: int, shape: Sequence[int], times: Sequence[float]) -> None:
        """Let a block of frames be seen, once fewer than `BLOCKS_AHEAD` are waiting for it."""
        while len(self._handed_over) >= BLOCKS_AHEAD:
            self._take_back()
        header: list[Json] = [stream, list(shape), list(times)]
        ipc.send(self.end, {"block": header}, memory)
        self._handed_over.append(memory)

    def settle(self) -> None:
        """Wait until every block is let go."""
        while self._handed_over:
            self._take_back()
        while self._free:
            os.close(self._free.pop())

    def _take_back(self) -> None:
        answer, _ = ipc.receive(self.end)
        memory = self._handed_over.popleft()
        if answer["free"]:
            self._free.append(memory)
        else:
            os.close(memory)
