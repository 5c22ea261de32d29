"""One piece of work in a child process of its own: what it costs, and the most memory it takes."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.cost_meters import servers_cpu

Work = Callable[[], Any]

_MB = 1024
_RESET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU and wall seconds of the work alone; memory in MB: held before it (weights), and added at its peak.

    `made` is what the work returned. Processes it started count for CPU, not for memory.
    """

    cpu: float
    wall: float
    held: float
    added: float
    made: Any


class Steps:
    """CPU-seconds by step, within one process and those it started."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add what the block takes."""
        began = cpu_seconds()
        yield
        self.cpu[name] = self.cpu.get(name, 0.0) + cpu_seconds() - began


def in_child(prepare: Callable[..., Work], *arguments: Any, threads: int) -> Spent:
    """Prepare work in a fresh process, then measure doing it. `prepare` is a function of a module."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, prepare, arguments, threads).result()


def _measured(prepare: Callable[..., Work], arguments: tuple[Any, ...], threads: int) -> Spent:
    torch.set_num_threads(threads)
    work = prepare(*arguments)
    held = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    cpu, wall = cpu_seconds(), time.perf_counter()
    with torch.inference_mode():
        made = work()
    return Spent(cpu_seconds() - cpu, time.perf_counter() - wall, held, _memory("VmHWM") - held, made)


def cpu_seconds() -> float:
    """CPU-seconds of this process, of those it started, and of those of them that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system + servers_cpu()


def _memory(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / _MB
