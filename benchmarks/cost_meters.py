"""Stopwatches for benchmarks: what calls cost, by the step they serve, and what a process and its servers cost."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any

import psutil

_STILL = 0.05  # CPU-seconds in a second: servers that use less have finished their work
_SETTLES_WITHIN = 60


class Stopwatch:
    """Wall seconds by (step, part), of all threads together."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self._here = threading.local()
        self._lock = threading.Lock()

    @contextmanager
    def timed(self, part: str, step: str | None = None) -> Iterator[None]:
        """Add what the block takes; inside it, calls of this thread serve `step`."""
        outer = getattr(self._here, "step", "")
        self._here.step = outer if step is None else step
        began = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - began
            with self._lock:
                self.seconds[self._here.step, part] += took
            self._here.step = outer

    def around(self, owner: Any, name: str, part: str) -> None:
        """Time every call of a function of a class or module from here on; in with blocks, until they end."""
        function = getattr(owner, name)

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            with self.timed(part):
                made = function(*arguments, **named)
            return self._block(made, part) if hasattr(made, "__enter__") else made

        setattr(owner, name, call)

    @contextmanager
    def _block(self, made: Any, part: str) -> Iterator[Any]:
        with self.timed(part), made as value:
            yield value


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds: wall, CPU of this process, CPU of the servers it started until they have come to rest."""

    wall: float
    own_cpu: float
    server_cpu: float

    @property
    def cpu(self) -> float:
        """CPU-seconds in all."""
        return self.own_cpu + self.server_cpu

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.wall - other.wall, self.own_cpu - other.own_cpu, self.server_cpu - other.server_cpu)


def cost_of(work: Callable[[], object]) -> Cost:
    """Do it, and wait until the servers behind it, which write late, have come to rest."""
    servers, own, wall = servers_cpu(), time.process_time(), time.perf_counter()
    work()
    own, wall = time.process_time() - own, time.perf_counter() - wall
    return Cost(wall, own, _settled() - servers)


def servers_cpu() -> float:
    """CPU-seconds of all living descendants so far."""
    seconds = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            seconds += used.user + used.system
    return seconds


def _settled() -> float:
    before = servers_cpu()
    for _ in range(_SETTLES_WITHIN):
        time.sleep(1)
        now = servers_cpu()
        if now - before < _STILL:
            return before
        before = now
    return before
