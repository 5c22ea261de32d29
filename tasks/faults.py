"""Named points where a test may kill or fail this process. They do nothing unless the environment names one.

DEEPSOUND_FAULT="judge.recorded" kills the process (SIGKILL) when it gets there; "judge.recorded@3" at the
third time it gets there.
"""

import os
import signal
from collections import Counter

_seen: Counter[str] = Counter()


def fault_point(name: str) -> None:
    """A place where dying must lose nothing."""
    asked = os.environ.get("DEEPSOUND_FAULT")
    if not asked:
        return
    point, _, times = asked.partition("@")
    if point == name:
        _seen[name] += 1
        if _seen[name] >= int(times or 1):
            os.kill(os.getpid(), signal.SIGKILL)
