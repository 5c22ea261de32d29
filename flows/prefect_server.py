"""The Prefect API of this process: the configured server, or a private server on loopback for one command.

Prefect's own ephemeral server starts only after the client is imported, and outlives a killed parent. The private
server here starts at once in its own process, so other work hides its start-up time. It runs only the services
that one command needs, and exits when its parent exits, even after `kill -9`.

The server process is this module: `python -m flows.prefect_server FD PARENT_PID`.
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
"""The first start migrates Prefect's database, which took up to 28 s on the slowest disk measured."""

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
}
"""No telemetry, and no log line for each state change. Variables that are already set take precedence."""

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
    # Without batches, SQLite answers 503 while task runs are recorded.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # Nothing reads the events of a private server; they take half its CPU time and most of its disk space.
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
}


class PrivateServer:
    """A Prefect server that lives as long as this object's `with` block, or this process."""

    def __init__(self) -> None:
        # The parent opens the listening socket: no other process can take the port before the server starts, and
        # early requests wait in the backlog instead of failing.
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
        """Waits until the server answers. Raises PrefectNotStartedError if it exits or does not answer in time."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise _not_started(f"exit code {self._process.returncode}: {self._last_error_line()}")
            if _answers(self.api_url):
                return
            time.sleep(0.05)
        raise _not_started(f"no answer within {START_TIMEOUT_SECONDS} s")

    def _last_error_line(self) -> str:
        lines = (self._process.stderr.read() if self._process.stderr else b"").decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "no error output")

    def close(self) -> None:
        """Stops the server; kills it after 10 s."""
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
    """The Prefect API URL from the environment or from Prefect's active profile; None: start a private server.

    Does not import Prefect: the import takes seconds, which should overlap with a private server's start.
    """
    return os.environ.get("PREFECT_API_URL") or _profile().get("PREFECT_API_URL") or None


def check_server(api_url: str) -> None:
    """Raises PrefectNotStartedError if a configured server does not answer."""
    if not api_url.startswith(("http://", "https://")) or not _answers(api_url):
        raise PrefectNotStartedError(
            "the Prefect server does not answer",
            where=api_url,
            remedy="start it, or unset PREFECT_API_URL to use a private server",
        )


def _profile() -> dict[str, str]:
    """The settings that `prefect config set` stored in the active profile; empty if the file is not readable."""
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    path = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # Prefect reports a broken file itself.
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
    return profiles.get("profiles", {}).get(active, {})


def use_server(api_url: str, *, private: bool) -> None:
    """Points Prefect at an API. Call it before Prefect is imported, because Prefect reads its settings once.

    Turns Prefect's console log off, so that it does not disturb the command's progress display. Prefect sends its
    log to the server instead, unless the server is private and stops with the command.
    """
    defaults = {**QUIET, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
    if private:
        defaults["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
    os.environ.update({name: os.environ.get(name, value) for name, value in defaults.items()})
    os.environ["PREFECT_API_URL"] = api_url


def _answers(api_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=5) as reply:  # noqa: S310 - http only
            return reply.status == 200
    except (OSError, ValueError, http.client.HTTPException):  # not listening, not a URL, not a port
        return False


def _not_started(why: str) -> DeepSoundError:
    return PrefectNotStartedError(
        f"Prefect's server did not start: {why}",
        where="workflow engine",
        remedy="run `deepsound doctor`, or set PREFECT_API_URL to a running server",
    )


def _exit_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def _serve(fd: int, parent: int) -> None:
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    import uvicorn

    app = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on", access_log=False
    )
    # Not with uvicorn's `fd` option: it treats every socket as a Unix socket and does not set TCP_NODELAY, so each
    # response would wait 40 ms for a delayed acknowledgement.
    uvicorn.Server(app).run(sockets=[socket.socket(fileno=fd)])


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
