"""Named points at which a test can kill this process. They do nothing unless DEEPSOUND_FAULT names one.

`judge.recorded` kills the process (SIGKILL) at that point, `judge.recorded@3` at its third time, `*@7` at the
seventh point of any name, and `judge.recorded:reel-2` for that video alone.
"""

import os
import signal
import threading
from collections import Counter

_reached: Counter[str] = Counter()
_lock = threading.Lock()


def fault_point(name: str, video: str) -> None:
    """A point at which a killed process must lose nothing."""
    fault = os.environ.get("DEEPSOUND_FAULT")
    if not fault:
        return
    point, _, number = fault.partition("@")
    point, _, only_video = point.partition(":")
    if only_video not in ("", video):
        return
    with _lock:
        _reached.update((name, "*"))
        if point in (name, "*") and _reached[point] >= int(number or 1):
            os.kill(os.getpid(), signal.SIGKILL)
