"""A guarded process, seen from the one that started it."""

import math
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from deepsound.canonical_json import Json
from deepsound.media.sandbox import ipc
from deepsound.media.sandbox.child_faults import VARIABLE as FAULT_VARIABLE
from deepsound.media.sandbox.limits import MEMORY_VARIABLE, SECONDS_VARIABLE

_PROGRAM = "deepsound.media.sandbox.child"
_PASSED_ON = (
    *("LANG", "LC_ALL", "LC_CTYPE", "PYTHONUTF8", "PYTHONHOME", "LD_LIBRARY_PATH"),
    *(MEMORY_VARIABLE, SECONDS_VARIABLE, FAULT_VARIABLE),
)
# The memory of one frame serves the next instead of going back to the kernel, which would clear it for a fifth of
# the whole time. glibc comes to much the same by itself once it has seen large pieces go.
_KEEP_MEMORY = f"glibc.malloc.mmap_threshold={32 << 20}:glibc.malloc.trim_threshold={64 << 20}"
_SETTLES_WITHIN = 10.0  # seconds; a process that waits for a dead disk can't even be killed
_LAST_WORDS = 4096
_STARTS_WITHIN = 120.0  # seconds; it takes 0.3 s of a free processor


@dataclass(frozen=True, slots=True)
class FrameBlock:
    """Frames in order for one stream: RGB (n, height, width, 3) in shared memory, and their times in seconds."""

    stream: int
    shape: tuple[int, int, int, int]
    times: NDArray[np.float64]
    fd: int
    _views: list[mmap.mmap] = field(default_factory=list[mmap.mmap])

    def frames(self) -> NDArray[np.uint8]:
        """A view of the frames that is the caller's alone: what is written to it, nobody else sees."""
        view = mmap.mmap(self.fd, math.prod(self.shape), mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        self._views.append(view)
        return np.frombuffer(view, np.uint8).reshape(self.shape)

    def let_go(self) -> bool:
        """Close what nobody looks at any more. Whether that is all of it, and its memory can be used again."""
        try:
            for view in self._views:
                view.close()
        except BufferError:  # somebody kept a frame
            return False
        return True


class StalledError(Exception):
    """No sign of progress for too long."""


class EndedError(Exception):
    """The process has ended in the middle of its work: `code` as subprocess tells it, and its last words."""

    def __init__(self, code: int | None, words: str) -> None:
        super().__init__(code, words)
        self.code = code
        self.words = words


def environment() -> dict[str, str]:
    """All that a guarded process is told of this one's environment: no keys, no passwords, no addresses."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **passed_on,
        "PATH": os.environ.get("PATH", os.defpath),  # decord wants to have one
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
        "OPENBLAS_NUM_THREADS": "1",  # it does no linear algebra, whose threads would each take memory
        "GLIBC_TUNABLES": _KEEP_MEMORY,
    }


class GuardedProcess:
    """One process, for one piece of work at a time. It ends when told to, and with this process at the latest."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self._end, theirs = ipc.pair()
        lifeline, self._lifeline = os.pipe()
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with theirs:
            self._process = subprocess.Popen(
                # -P keeps modules of the current folder out.
                [sys.executable, "-P", "-m", _PROGRAM, str(theirs.fileno()), str(lifeline)],
                env=environment,
                cwd="/",
                pass_fds=[theirs.fileno(), lifeline],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                start_new_session=True,
            )
        os.close(lifeline)
        self._is_ready = False

    @property
    def pid(self) -> int:
        """What the system calls it."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is gone, or not this process's own: a fork does not talk to those of its parent."""
        return self._process.poll() is not None

    def work(self, request: ipc.Message, patience: float, take: Callable[[FrameBlock], None]) -> ipc.Message:
        """Its reply to a request; blocks of frames are handed to `take` as they come.

        Raises StalledError after `patience` seconds without a sign of progress, EndedError, what `take` raises.
        """
        if not self._is_ready:
            self._end.settimeout(_STARTS_WITHIN)
            self._heard()
            self._is_ready = True
        self._end.settimeout(patience)
        self._say(request)
        while True:
            message, fd = self._heard()
            if fd is not None:
                block = _block(message["block"], fd)
                try:
                    take(block)
                finally:
                    os.close(fd)
                self._say({"free": block.let_go()})
            elif "alive" not in message:
                return message

    def _say(self, message: ipc.Message) -> None:
        try:
            ipc.send(self._end, message)
        except OSError as error:
            raise self._ended() from error

    def _heard(self) -> tuple[ipc.Message, int | None]:
        try:
            return ipc.receive(self._end)
        except TimeoutError as error:
            raise StalledError from error
        except EOFError as error:
            raise self._ended() from error

    def _ended(self) -> EndedError:
        code = self._wait()
        self._words.seek(max(self._words.seek(0, os.SEEK_END) - _LAST_WORDS, 0))
        return EndedError(code, self._words.read().decode(errors="replace"))

    def _wait(self) -> int | None:
        try:
            return self._process.wait(_SETTLES_WITHIN)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._wait()
        self._end.close()
        self._words.close()
        os.close(self._lifeline)


def _block(header: Json, fd: int) -> FrameBlock:
    stream, (frames, height, width, colours), times = cast("tuple[int, list[int], list[float]]", header)
    return FrameBlock(stream, (frames, height, width, colours), np.array(times, np.float64), fd)
