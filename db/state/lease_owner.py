"""Who holds a lease and for how long. An owner's name tells processes of the same host whether it is alive."""

import os
import socket
from functools import cache
from pathlib import Path
from typing import Final

from deepsound.errors import BadSettingsError

_LEASE_SECONDS: Final = 60.0


def this_owner() -> str:
    """Returns this process as `host:pid:start`; `start` is in clock ticks after boot, 0 if the system hides it."""
    return _owner(os.getpid())


@cache
def _owner(pid: int) -> str:
    # Cached by pid, since a forked child is another owner.
    return f"{socket.gethostname()}:{pid}:{_start_ticks(pid) or 0}"


def is_dead(owner: str) -> bool:
    """Whether the owner ran on this host and has ended, even if another process has its pid now.

    Returns False for a process on another host, or one whose state is unknown: its lease expires by itself.
    """
    host, pid, start = owner.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    ticks = _start_ticks(int(pid))
    if ticks is not None:
        return ticks != int(start)
    return not _exists(int(pid))


@cache
def lease_seconds() -> float:
    """Returns how long a lease lasts without a heartbeat: DEEPSOUND_LEASE_SECONDS, or 60.

    Every worker of a ledger must use the same value. Raises BadSettingsError for a number below 0.5 or no number.
    """
    setting = os.environ.get("DEEPSOUND_LEASE_SECONDS") or str(_LEASE_SECONDS)
    try:
        seconds = float(setting)
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds < float("inf"):
        raise BadSettingsError(
            f"{setting!r} is not a number of seconds from 0.5 up",
            where="DEEPSOUND_LEASE_SECONDS",
            remedy="unset it, or set it to the same number for every worker",
        )
    return seconds


def _start_ticks(pid: int) -> int | None:
    """Returns a process's start time from Linux's /proc; 0: it ended but was not reaped; None: unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets, with any characters; state and start time follow it.
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
