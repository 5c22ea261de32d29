"""Named points where a test may kill this process. They do nothing unless the environment names one.

DEEPSOUND_FAULT="judge.recorded" kills the process (SIGKILL) when it gets there; "*@7" at the seventh point it
gets to, whichever that is.
"""

import itertools
import os
import signal
import threading

_reached = itertools.count(1)
_lock = threading.Lock()


def fault_point(name: str) -> None:
    """A place where dying must lose nothing."""
    asked = os.environ.get("DEEPSOUND_FAULT")
    if not asked:
        return
    point, _, number = asked.partition("@")
    with _lock:
        if point == name or (point == "*" and next(_reached) == int(number)):
            os.kill(os.getpid(), signal.SIGKILL)
