"""A sandboxed process as its parent sees it: started, sent requests, and ended."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from deepsound.media.sandbox import child, ipc
from deepsound.media.sandbox.limits import MEMORY_VARIABLE, SECONDS_VARIABLE

_PASSED_ON = (
    *("LANG", "LC_ALL", "LC_CTYPE", "PYTHONUTF8", "PYTHONHOME", "LD_LIBRARY_PATH"),
    *(MEMORY_VARIABLE, SECONDS_VARIABLE, child.FAULT_VARIABLE),
)
# Frees of large blocks keep their memory for the next frame. Returned to the kernel, it would have to be cleared
# again, for a fifth of the decoding time. glibc raises these thresholds itself, but only after some large frees.
_KEEP_MEMORY = f"glibc.malloc.mmap_threshold={32 << 20}:glibc.malloc.trim_threshold={64 << 20}"
_EXITS_WITHIN = 10.0  # seconds; a process that waits for a dead disk can't be killed
_STARTS_WITHIN = 120.0  # seconds; on an idle core a start takes 0.3 s
_STDERR_BYTES = 4096


class ProcessStalledError(Exception):
    """The process reported no progress for too long."""


class MemoryLimitError(Exception):
    """The process needed more memory than its limit."""


class ProcessEndedError(Exception):
    """The process ended during a request: `code` as subprocess reports it, and the end of its stderr."""

    def __init__(self, code: int | None, stderr: str) -> None:
        super().__init__(code, stderr)
        self.code = code
        self.stderr = stderr


def child_environment() -> dict[str, str]:
    """Return the environment of a sandboxed process: no keys, passwords or addresses of this one."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **passed_on,
        "PATH": os.environ.get("PATH", os.defpath),  # importing decord fails without one
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
        "OPENBLAS_NUM_THREADS": "1",  # every thread of OpenBLAS takes memory, and none is used
        "GLIBC_TUNABLES": _KEEP_MEMORY,
    }


class SandboxProcess:
    """One process that serves one request at a time. It ends when told to, or when this process ends."""

    def __init__(self, handlers: str, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self._end, child_end = ipc.pair()
        lifeline, self._lifeline = os.pipe()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with child_end:
            self._process = subprocess.Popen(
                # -P keeps modules of the current folder out.
                [sys.executable, "-P", "-m", child.__name__, handlers, str(child_end.fileno()), str(lifeline)],
                env=environment,
                cwd="/",
                pass_fds=[child_end.fileno(), lifeline],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,
            )
        os.close(lifeline)
        self._is_ready = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended or is no child of this one, as after a fork of the parent."""
        return self._process.poll() is not None

    def run(
        self, request: ipc.Message, patience: float, on_block: Callable[[ipc.SharedBlock], None]
    ) -> ipc.Message:
        """Send a request and return the reply; `on_block` gets the blocks of shared memory as they arrive.

        Raises ProcessStalledError after `patience` seconds without a sign of progress, MemoryLimitError,
        ProcessEndedError, and what `on_block` raises.
        """
        if not self._is_ready:
            self._end.settimeout(_STARTS_WITHIN)
            self._receive()
            self._is_ready = True
        self._end.settimeout(patience)
        self._send(request)
        while True:
            message, fd = self._receive()
            if fd is not None:
                block = ipc.SharedBlock(message["block"], fd)
                try:
                    on_block(block)
                finally:
                    os.close(fd)
                self._send({"free": block.release()})
            elif "memory" in message:
                raise MemoryLimitError
            elif "alive" not in message:
                return message

    def _send(self, message: ipc.Message) -> None:
        try:
            ipc.send(self._end, message)
        except OSError as error:
            raise self._ended() from error

    def _receive(self) -> tuple[ipc.Message, int | None]:
        try:
            return ipc.receive(self._end)
        except TimeoutError as error:
            raise ProcessStalledError from error
        except EOFError as error:
            raise self._ended() from error

    def _ended(self) -> ProcessEndedError:
        code = self._wait()
        self._stderr.seek(max(self._stderr.seek(0, os.SEEK_END) - _STDERR_BYTES, 0))
        return ProcessEndedError(code, self._stderr.read().decode(errors="replace"))

    def _wait(self) -> int | None:
        try:
            return self._process.wait(_EXITS_WITHIN)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Kill the process and free what it holds here."""
        self._process.kill()
        self._wait()
        self._end.close()
        self._stderr.close()
        os.close(self._lifeline)
