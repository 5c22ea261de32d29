"""Lists the sandboxed processes of a process, and checks how errors are shown to people."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from deepsound.errors import DeepSoundError

FAULT = "DEEPSOUND_DECODER_FAULT"
"""Breaks sandboxed processes: see `deepsound.media.sandbox.child`."""


def decoders(parent: int | None = None) -> set[int]:
    """Return the ids of the sandboxed processes of a process, by default this one."""
    children = psutil.Process(parent).children()
    return {child.pid for child in children if "deepsound.media.sandbox" in _command(child)}


def zombies() -> set[int]:
    """Return the ids of this process's children that have ended and were not waited for."""
    return {child.pid for child in psutil.Process().children() if state(child.pid) == "Z"}


def _command(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):  # psutil raises it for a zombie too
        while not (command := process.cmdline()):  # it is just being started
            time.sleep(0.001)
        return " ".join(command)
    return ""


def state(pid: int) -> str:
    """Return the state of a process (R, S, Z, ...), or "" if there is no such process."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def failure_of(operation: Callable[[], object]) -> DeepSoundError:
    """Return the error that an operation raises, which must be one line with a remedy."""
    with pytest.raises(DeepSoundError) as caught:
        operation()
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value
