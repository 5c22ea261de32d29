"""Whatever breaks in a step becomes one line with a code; and only a test kills a process, at a point it names."""

import errno
import os
import signal
import subprocess
import sys

import pytest
import torch

from deepsound.errors import ErrorCode, SourceEmptyError
from tasks.runtime.fault_points import fault_point
from tasks.steps.runner import as_failure

SOURCE = "/archive/reel.mov"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), ErrorCode.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), ErrorCode.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), ErrorCode.OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), ErrorCode.DISK_FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ErrorCode.DISK_FULL),
        (ZeroDivisionError("a bug\nof ours"), ErrorCode.INTERNAL),
    ],
)
def test_a_failure_is_one_line_with_file_and_remedy(error: Exception, code: ErrorCode):
    failure = as_failure(error, SOURCE)
    assert failure.code is code
    assert str(failure).startswith("/archive/reel.mov: ")
    assert failure.remedy
    assert "\n" not in str(failure)


def test_a_failure_that_has_its_code_keeps_it():
    failure = SourceEmptyError("the file is empty")
    assert as_failure(failure, SOURCE) is failure


def test_a_source_whose_name_is_no_text_can_still_be_spoken_of():
    source = os.fsdecode(b"/archive/\xff.mov")
    assert "\\xff.mov" in str(as_failure(ValueError("x"), source))


def test_a_fault_point_nobody_asked_for_does_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DEEPSOUND_FAULT", raising=False)
    fault_point("judge.recorded", "reel-1")
    for asked in ("judge.begun", "judge.recorded:reel-2"):
        monkeypatch.setenv("DEEPSOUND_FAULT", asked)
        fault_point("judge.recorded", "reel-1")


@pytest.mark.parametrize(
    ("asked", "passes"), [("judge.recorded", 0), ("judge.recorded@3", 2), ("judge.recorded:reel-1", 0)]
)
def test_the_fault_point_that_was_asked_for_kills_the_process_the_time_that_was_asked_for(asked: str, passes: int):
    reach = "at('judge.recorded', 'reel-1'); print(flush=True)"
    code = f"from tasks.runtime.fault_points import fault_point as at\nfor _ in range(9):\n {reach}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DEEPSOUND_FAULT": asked},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout.count(b"\n")) == (-signal.SIGKILL, passes)
