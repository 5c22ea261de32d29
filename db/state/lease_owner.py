"""Who holds a lease: a process, named so that others on the same host can see whether it still lives."""

import os
import socket
from functools import cache
from pathlib import Path


def this_owner() -> str:
    """This process as `host:pid:start`; `start` is in clock ticks after boot, 0 where the system hides it."""
    return _owner(os.getpid())


@cache
def _owner(pid: int) -> str:
    # Keyed by pid, since a forked child is another owner.
    return f"{socket.gethostname()}:{pid}:{_started(pid) or 0}"


def is_dead(owner: str) -> bool:
    """True only if the owner ran on this host and is gone, even where its pid is in use again.

    A process on another host, or one that cannot be told, counts as alive: its lease runs out by itself.
    """
    host, pid, start = owner.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    started = _started(int(pid))
    if started is not None:
        return started != int(start)
    return not _answers(int(pid))


def _started(pid: int) -> int | None:
    """Start time of a process from Linux's /proc, 0 for one that ended but was not reaped; None: can't tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets and may hold anything; state and times follow it.
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
