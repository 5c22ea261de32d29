"""The program of a guarded process: `python -m deepsound.media.sandbox.child CHANNEL LIFELINE`.

It answers one request after the other until the other end of its channel is closed, and dies with its parent.
"""

import errno
import fcntl
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deepsound.canonical_json import Json
from deepsound.errors import DeepSoundError
from deepsound.media.reading_progress import listening_to_reads
from deepsound.media.sandbox import ipc
from deepsound.media.sandbox.child_channel import Line
from deepsound.media.sandbox.limits import SandboxLimits, limits_from

Work = Callable[[ipc.Message, Line], dict[str, Json]]

_FIRST_TO_GO = "1000"


def main(channel: int, lifeline: int) -> None:
    """Work until there is nobody left to work for."""
    _die_with_parent(lifeline)
    limits = limits_from(os.environ)
    limits.apply()
    # Where the machine runs out of memory, this process goes, and not the one with the models.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    _serve(socket.socket(fileno=channel), limits)


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel kill this process when the last writer of a pipe is gone, whatever it is busy with.

    Not PR_SET_PDEATHSIG, which strikes as soon as the parent's thread ends that started this process.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it was gone before
        sys.exit()


def _serve(end: socket.socket, limits: SandboxLimits) -> None:
    # The libraries that parse media are loaded under the limits, and while the parent goes on with something else.
    from deepsound.media.sandbox.handlers import WORK

    ipc.send(end, {"ready": True})
    while True:
        try:
            request, _ = ipc.receive(end)
        except EOFError:
            return
        limits.renew()
        line = Line(end, limits)
        reply = _reply(WORK[str(request["work"])], request, line)
        line.settle()
        ipc.send(end, {"memory": True} if limits.overstepped() else reply)


def _reply(work: Work, request: ipc.Message, line: Line) -> ipc.Message:
    """What came of it: an answer, or the failure as data."""
    try:
        with listening_to_reads(line.alive):
            return {"answer": work(request, line)}
    except DeepSoundError as error:
        return {"failure": [error.code, error.what, error.where, error.remedy]}
    except MemoryError:
        return {"memory": True}
    except OSError as error:
        return {"memory": True} if error.errno == errno.ENOMEM else {"system": [error.errno, error.strerror]}
    except Exception as error:  # noqa: BLE001 - told to the process that asked, which raises it
        return {"defect": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
