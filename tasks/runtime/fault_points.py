"""Named points where a test may kill this process. They do nothing unless the environment names one.

DEEPSOUND_FAULT="judge.recorded" kills the process (SIGKILL) when it gets there, "judge.recorded@3" at the third
time, "*@7" at the seventh point it gets to, whichever that is; "judge.recorded:reel-2" only with that video.
"""

import os
import signal
import threading
from collections import Counter

_reached: Counter[str] = Counter()
_lock = threading.Lock()


def fault_point(name: str, video: str) -> None:
    """A place where dying must lose nothing."""
    asked = os.environ.get("DEEPSOUND_FAULT")
    if not asked:
        return
    point, _, number = asked.partition("@")
    point, _, only = point.partition(":")
    if only not in ("", video):
        return
    with _lock:
        _reached.update((name, "*"))
        if point in (name, "*") and _reached[point] >= int(number or 1):
            os.kill(os.getpid(), signal.SIGKILL)
