"""The program of a sandboxed process: `python -m deepsound.media.sandbox.child HANDLERS CHANNEL LIFELINE`.

HANDLERS names a module, CHANNEL and LIFELINE are descriptors. The process serves one request after the other
until the other end of its channel is closed, and dies with its parent.
"""

import fcntl
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import cast

from deepsound.canonical_json import Json
from deepsound.errors import DeepSoundError, is_out_of_memory
from deepsound.media.sandbox import ipc
from deepsound.media.sandbox.child_channel import ChildChannel
from deepsound.media.sandbox.limits import SandboxLimits, limits_from

Handler = Callable[[ipc.Message, ChildChannel], dict[str, Json]]

FAULT_VARIABLE = "DEEPSOUND_DECODER_FAULT"
"""For tests: "crash:poison" breaks the process at each request for a file with "poison" in its name.

`crash` ends it as a wild pointer does, `leave` with an exit code; `hang` sleeps and `spin` computes for ever;
`eat` allocates memory until it is refused.
"""

_FIRST_TO_BE_KILLED = "1000"
_EATEN_BYTES = 16 << 20


def main(handlers: str, channel: int, lifeline: int) -> None:
    """Serve requests until the parent closes its end of the channel."""
    _die_with_parent(lifeline)
    limits = limits_from(os.environ)
    limits.apply()
    # Where the machine runs out of memory, the kernel kills this process and not the one with the models.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_BE_KILLED, encoding="ascii")
    # The handlers are imported by name, so that the libraries that parse media are loaded under the limits.
    _serve(import_module(handlers).HANDLERS, socket.socket(fileno=channel), limits)


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel kill this process when the last writer of a pipe is gone, whatever it is busy with.

    PR_SET_PDEATHSIG is no alternative: it kills as soon as the thread ends that started this process.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # the parent ended before the signal was set
        sys.exit()


def _serve(handlers: Mapping[str, Handler], end: socket.socket, limits: SandboxLimits) -> None:
    ipc.send(end, {"ready": True})
    while True:
        try:
            request, _ = ipc.receive(end)
        except EOFError:
            return
        limits.renew()
        channel = ChildChannel(end, limits)
        reply = _reply(handlers[str(request["handler"])], request, channel)
        channel.settle()
        ipc.send(end, {"memory": True} if limits.exceeded() else reply)


def _reply(handler: Handler, request: ipc.Message, channel: ChildChannel) -> ipc.Message:
    """Return the handler's result, or its error as data."""
    try:
        for path in cast("Mapping[str, str]", request["paths"]).values():
            _fault_point(Path(path))
        with channel.current():
            return {"result": handler(request, channel)}
    except DeepSoundError as error:
        return {"error": [error.code, error.what, error.where, error.remedy]}
    except Exception as error:  # noqa: BLE001 - the parent raises it
        if is_out_of_memory(error):
            return {"memory": True}
        if isinstance(error, OSError):
            return {"os_error": [error.errno, error.strerror]}
        return {"defect": f"{type(error).__name__}: {error}"}


def _fault_point(path: Path) -> None:
    """Break this process if `FAULT_VARIABLE` says so for this file."""
    fault, _, name = os.environ.get(FAULT_VARIABLE, "").partition(":")
    if not name or name not in path.name:
        return
    eaten: list[bytearray] = []
    match fault:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "leave":
            os._exit(3)
        case "hang":
            time.sleep(1 << 20)
        case "spin":
            while True:
                pass
        case "eat":
            while True:
                eaten.append(bytearray(_EATEN_BYTES))
        case _:
            raise ValueError(f"{FAULT_VARIABLE}: no such fault: {fault!r}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
