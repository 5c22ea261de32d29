"""The guarded processes of a process, and errors as people are to see them."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from deepsound.errors import DeepSoundError

FAULT = "DEEPSOUND_DECODER_FAULT"
"""Breaks guarded processes: see `deepsound.media.guarded.faults`."""


def decoders(parent: int | None = None) -> set[int]:
    """The guarded processes of a process, this one by default."""
    tasks = Path(f"/proc/{parent or os.getpid()}/task")
    children = {int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()}
    return {pid for pid in children if b"deepsound.media.guarded" in Path(f"/proc/{pid}/cmdline").read_bytes()}


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
