"""A command with a real Prefect server: a private one, or the configured one."""

import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from deepsound.errors import DeepSoundError
from flows.prefect_server import PrivateServer, configured_server
from tasks.runtime.stores import StoreUrls
from tests.archive_setup import DEEPSOUND, Archive
from tests.prefect_workers import PREFECT, answers, until
from tests.s3_servers import free_port
from tests.voiced_clips import silent_clip

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


def test_without_a_configured_server_the_command_starts_a_private_one_and_says_so(tmp_path: Path):
    archive = Archive(
        tmp_path, StoreUrls(db=f"sqlite:///{tmp_path / 'ledger.sqlite3'}", store=str(tmp_path / "store"))
    )
    clip = silent_clip(tmp_path / "ball.mp4")
    environment = {**archive.variables(), "PREFECT_HOME": str(tmp_path / "prefect")}
    environment.pop("PREFECT_API_URL", None)
    done = subprocess.run(
        [DEEPSOUND, "dub", str(clip)], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("starting the workflow engine") == 1
    again = subprocess.run(
        [DEEPSOUND, "dub", str(clip)], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert "every finished step was found in the ledger and reused" in again.stderr
    assert "workflow engine" not in again.stderr, "finished steps need no engine"


def test_a_private_server_exits_when_its_parent_is_killed(tmp_path: Path):
    code = (
        "import time; from flows.prefect_server import PrivateServer; server = PrivateServer(); server.wait(); "
        "print(server.api_url, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    api_url = parent.stdout.readline().strip()
    assert answers(f"{api_url}/health")
    parent.kill()
    parent.wait()
    until(lambda: not answers(f"{api_url}/health"), 15, "the end of the server")


def test_a_private_server_answers_without_waiting_for_delayed_acknowledgements(prefect_api: str):
    def seconds(client: httpx.Client) -> float:
        asked = time.perf_counter()
        client.get(f"{prefect_api}/flow_runs/{UUID(int=0)}")
        return time.perf_counter() - asked

    with httpx.Client() as client:
        # Linux delays acknowledgements by 40 ms. The minimum of many requests is independent of the load.
        assert min(seconds(client) for _ in range(20)) < 0.03


def test_a_server_that_fails_to_start_is_one_error_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "nonsense://")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with PrivateServer() as server, pytest.raises(DeepSoundError, match="did not start") as caught:
        server.wait()
    assert "\n" not in str(caught.value)


def test_a_configured_server_that_does_not_answer_is_one_error_line(archive: Archive):
    nowhere = f"http://127.0.0.1:{free_port()}/api"
    clip = silent_clip(archive.folder / "ball.mp4", seconds=0.4)
    done = archive.command("dub", clip, PREFECT_API_URL=nowhere)
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert f"{nowhere}: the Prefect server does not answer; start it" in line


def test_the_server_of_prefects_active_profile_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_PROFILE", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    assert configured_server() is None
    subprocess.run(
        [PREFECT, "config", "set", "PREFECT_API_URL=http://archive.example:4200/api"],
        env={**os.environ, "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    assert configured_server() == "http://archive.example:4200/api"
