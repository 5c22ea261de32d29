"""The guarded processes of a process, and errors as people are to see them."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from deepsound.errors import DeepSoundError

FAULT = "DEEPSOUND_DECODER_FAULT"
"""Breaks guarded processes: see `deepsound.media.sandbox.child`."""


def decoders(parent: int | None = None) -> set[int]:
    """The guarded processes of a process, this one by default."""
    children = psutil.Process(parent).children()
    return {child.pid for child in children if "deepsound.media.sandbox" in _command(child)}


def zombies() -> set[int]:
    """Children of this process that have ended and that nobody has asked about."""
    return {child.pid for child in psutil.Process().children() if state(child.pid) == "Z"}


def _command(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):  # Which a zombie is to psutil too.
        while not (command := process.cmdline()):  # It is just being started.
            time.sleep(0.001)
        return " ".join(command)
    return ""


def state(pid: int) -> str:
    """R, S, Z, ..., or nothing where there is no such process."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def failure_of(work: Callable[[], object]) -> DeepSoundError:
    with pytest.raises(DeepSoundError) as caught:
        work()
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value
