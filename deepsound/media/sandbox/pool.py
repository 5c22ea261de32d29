"""Keeps sandboxed processes for the next request: one for each thread that needs one at the same time."""

import atexit
import threading
from collections.abc import Callable, Mapping

from deepsound.media.sandbox.ipc import Message, SharedBlock
from deepsound.media.sandbox.process import SandboxProcess, child_environment


class SandboxPool:
    """Processes that run the handlers of one module. Those that still live when Python exits are ended."""

    def __init__(self, handlers: str) -> None:
        """`handlers` names a module whose `HANDLERS` maps names to functions of a request and a ChildChannel."""
        self._handlers = handlers
        self._idle: list[SandboxProcess] = []
        self._lock = threading.Lock()
        atexit.register(self._end_idle)

    def run(self, request: Message, patience: float, on_block: Callable[[SharedBlock], None]) -> Message:
        """Run a request in an idle or new process: see `SandboxProcess.run`, also for what this raises.

        A process whose request raises is ended; any other serves the next request.
        """
        process = self._borrow(child_environment())
        try:
            reply = process.run(request, patience, on_block)
        except BaseException:
            process.end()
            raise
        self._give_back(process)
        return reply

    def warm_up(self) -> None:
        """Start a process, if none is idle, that serves the next request."""
        self._give_back(self._borrow(child_environment()))

    def idle(self) -> tuple[SandboxProcess, ...]:
        """Return the processes that wait for a request."""
        with self._lock:
            return tuple(self._idle)

    def _borrow(self, environment: Mapping[str, str]) -> SandboxProcess:
        """Take a live process that was started with this environment, and so with its limits."""
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                return SandboxProcess(self._handlers, environment)
            if process.environment == environment and not process.has_ended:
                return process
            process.end()

    def _give_back(self, process: SandboxProcess) -> None:
        with self._lock:
            self._idle.append(process)

    def _end_idle(self) -> None:
        for process in self.idle():
            process.end()
