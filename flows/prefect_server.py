"""A Prefect API for this process: the configured server, or a private one on loopback for one command.

Prefect's own ephemeral server starts only once the client is imported and asked, and outlives a killed parent.
This one is a process of its own from the first moment, so its start hides behind other work, runs just the
services a single command needs, and ends with its parent whatever happens to that.

Running this module is that server: `python -m flows.prefect_server FD PARENT`.
"""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from pathlib import Path

from deepsound.errors import DeepSoundError, PrefectNotStartedError

START_TIMEOUT_SECONDS = 180
"""A first start on a slow disk migrates Prefect's database, which took 28 s at worst where it was measured."""

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
}
"""No telemetry, and no line for every state change; what is set in the environment wins."""

_PRIVATE_SERVER = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    # Batched recording keeps SQLite from answering 503 while tasks are being written down.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # Nobody reads its events, which cost it half its time and most of its disk space; the ledger has it all.
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
}


class PrivateServer:
    """A Prefect server that lives as long as this object's `with` block, or this process."""

    def __init__(self) -> None:
        # The socket listens before the server exists: no other process can take the port in between, and an
        # early request waits in the backlog instead of failing.
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.api_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/api"
        fd = self._socket.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flows.prefect_server", str(fd), str(os.getpid())],
            pass_fds=[fd],
            env={**_PRIVATE_SERVER, **QUIET, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._socket.close()

    def wait(self) -> None:
        """Until it answers. Raises DeepSoundError where it ends or stays dumb."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise _not_started(f"it ended with code {self._process.returncode}: {self._last_words()}")
            if _answers(self.api_url):
                return
            time.sleep(0.05)
        raise _not_started(f"no answer within {START_TIMEOUT_SECONDS} s")

    def _last_words(self) -> str:
        lines = (self._process.stderr.read() if self._process.stderr else b"").decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()

    def __enter__(self) -> "PrivateServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def configured_server() -> str | None:
    """The Prefect API that the environment or Prefect's active profile names; None: a private one is needed.

    Read without importing Prefect, which takes seconds that a private server's start can hide.
    """
    return os.environ.get("PREFECT_API_URL") or _profile().get("PREFECT_API_URL") or None


def check_server(api_url: str) -> None:
    """Raise DeepSoundError (ENGINE_NOT_STARTED) where a configured server is not there."""
    if not api_url.startswith(("http://", "https://")) or not _answers(api_url):
        raise PrefectNotStartedError(
            "the Prefect server does not answer",
            where=api_url,
            remedy="start it, or unset PREFECT_API_URL to let the command bring its own",
        )


def _profile() -> dict[str, str]:
    """Settings of the active profile, as `prefect config set` keeps them; empty where there is none to read."""
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    path = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # Prefect itself says what is wrong with a file it can't read.
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
    return profiles.get("profiles", {}).get(active, {})


def use_server(api_url: str, *, private: bool) -> None:
    """Point Prefect at an API. Call before Prefect is imported: it reads its settings once.

    The terminal belongs to the command's own display, so Prefect's console log keeps off it; its log goes to the
    server, unless that is private and ends with the command.
    """
    here = {**QUIET, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
    if private:
        here["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
    os.environ.update({name: os.environ.get(name, value) for name, value in here.items()})
    os.environ["PREFECT_API_URL"] = api_url


def _answers(api_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=5) as reply:  # noqa: S310 - http only
            return reply.status == 200
    except (OSError, ValueError, http.client.HTTPException):  # nobody there, no URL, no such port
        return False


def _not_started(why: str) -> DeepSoundError:
    return PrefectNotStartedError(
        f"Prefect's server did not start: {why}",
        where="workflow engine",
        remedy="run `deepsound doctor`, or point PREFECT_API_URL at a running server",
    )


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def _serve(fd: int, parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import uvicorn

    app = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on", access_log=False
    )
    # Not by uvicorn's own `fd`, which takes any socket for a Unix one: without TCP_NODELAY every answer is late
    # by the 40 ms of a delayed acknowledgement.
    uvicorn.Server(app).run(sockets=[socket.socket(fileno=fd)])


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
