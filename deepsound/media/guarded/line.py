"""The guarded process's side of a talk about one file: signs of life, and frames in shared memory."""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from deepsound.canonical import Json
from deepsound.media.guarded import wire
from deepsound.media.guarded.limits import Limits

BLOCKS_AHEAD = 2
"""Blocks handed over and not yet let go: one is looked at while the next one is filled."""

_BETWEEN_SIGNS = 1.0


@dataclass(slots=True)
class Line:
    """To the process that asked."""

    end: socket.socket
    limits: Limits
    _last_sign: float = field(default_factory=time.monotonic)
    _handed_over: int = 0

    def alive(self) -> None:
        """Say that the work goes on, at most once a second."""
        now = time.monotonic()
        if now - self._last_sign >= _BETWEEN_SIGNS:
            self._last_sign = now
            self.limits.renew()
            wire.send(self.end, {"alive": True})

    def hand_over(self, fd: int, stream: int, shape: Sequence[int], times: Sequence[float]) -> None:
        """Give a block of frames away, once fewer than `BLOCKS_AHEAD` are waiting to be seen."""
        while self._handed_over >= BLOCKS_AHEAD:
            wire.receive(self.end)
            self._handed_over -= 1
        header: list[Json] = [stream, list(shape), list(times)]
        wire.send(self.end, {"block": header}, fd)
        os.close(fd)
        self._handed_over += 1

    def settle(self) -> None:
        """Wait until every block is let go."""
        while self._handed_over:
            wire.receive(self.end)
            self._handed_over -= 1
