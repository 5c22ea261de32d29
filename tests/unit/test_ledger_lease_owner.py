"""Whether the holder of a lease still lives."""

import os
import signal
import subprocess
import sys

from db.state.lease_owner import is_dead, this_owner


def test_this_process_is_alive() -> None:
    assert not is_dead(this_owner())


def test_a_killed_process_is_dead_even_before_it_is_reaped() -> None:
    sleeper, owner = _sleeper()
    assert not is_dead(owner)
    sleeper.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(owner)
    sleeper.wait()
    assert is_dead(owner)


def test_a_pid_in_use_again_is_another_owner() -> None:
    host, pid, start = this_owner().rsplit(":", 2)
    assert is_dead(f"{host}:{pid}:{int(start) - 1}")


def test_of_another_host_nothing_is_known() -> None:
    _, pid, start = this_owner().rsplit(":", 2)
    assert not is_dead(f"elsewhere:{pid}:{int(start) - 1}")


def _sleeper() -> tuple["subprocess.Popen[str]", str]:
    program = (
        "from db.state.lease_owner import this_owner; print(this_owner(), flush=True); import time; time.sleep(60)"
    )
    sleeper = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert sleeper.stdout is not None
    return sleeper, sleeper.stdout.readline().strip()
