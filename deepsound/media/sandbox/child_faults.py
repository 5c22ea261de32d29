"""Where a test may break a guarded process. It does nothing unless the environment asks for it.

DEEPSOUND_DECODER_FAULT="crash:poison" breaks the process that works on a file with "poison" in its name: `crash`
ends it as a wild pointer does, `leave` ends it with an exit code, `hang` waits for ever, `spin` computes for ever,
`eat` takes all the memory there is.
"""

import os
import signal
import time
from pathlib import Path

VARIABLE = "DEEPSOUND_DECODER_FAULT"

_BITE = 16 << 20


def child_fault_point(video: Path) -> None:
    """Breaks here, if this file is the one."""
    how, _, name = os.environ.get(VARIABLE, "").partition(":")
    if not name or name not in video.name:
        return
    eaten: list[bytearray] = []
    match how:
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
                eaten.append(bytearray(_BITE))
        case _:
            raise ValueError(f"{VARIABLE}: {how!r} is no way to break")
