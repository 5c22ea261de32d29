"""Prefect for real: a standing server, deployments from prefect.yaml, and a worker that runs a shard."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from console.results import read_results
from console.settings import settings_from
from deepsound.errors import DeepSoundError
from deepsound.pipeline import OutcomeKind
from flows.engine import PrivateServer, configured_server
from tasks.intake import collect
from tasks.place import Place
from tasks.run import begin_run
from tests.archive import DEEPSOUND, Archive
from tests.footage import silent_clip
from tests.s3 import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))


def until(true, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.3)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False


@pytest.fixture
def standing_server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """`prefect server start`, as an operator runs it; yields the environment that points at it."""
    port = free_port()
    environment = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    server = subprocess.Popen(
        [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/api/health"), 120, "the server's start")
        yield environment
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def prefect(environment: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [PREFECT, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_worker_runs_the_shards_of_an_archive(standing_server: dict[str, str], tmp_path: Path):
    archive = Archive(tmp_path, Place(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", str(tmp_path / "store")))
    reels = tmp_path / "reels"
    reels.mkdir()
    for number in range(2):
        silent_clip(reels / f"reel-{number}.mp4")
    settings = settings_from(out=str(archive.out))
    run_id, _ = begin_run(
        archive.worker, settings.for_run(), collect([reels], archive.out).sources, lambda _: None
    )
    environment = {**archive.variables(), **standing_server}
    prefect(environment, "work-pool", "create", "cpu", "--type", "process")
    prefect(environment, "work-pool", "create", "gpu", "--type", "process")
    prefect(environment, "deploy", "--all")
    workers = [
        subprocess.Popen(
            [PREFECT, "worker", "start", "--pool", pool, "--limit", "1"],
            env={**environment, "PREFECT_WORKER_QUERY_SECONDS": "1"},
            cwd=ROOT,
            stdout=(tmp_path / f"{pool}.log").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        for pool in ("cpu", "gpu")
    ]
    try:
        prefect(environment, "deployment", "run", "dub-archive/dub-archive", "--param", f"run={run_id}")
        until(lambda: all(result.outcome for result in read_results(archive.worker, run_id)), 180, "the run's end")
    finally:
        for worker in workers:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
    results = read_results(archive.worker, run_id)
    assert [result.outcome for result in results] == [OutcomeKind.DONE] * 2
    assert all(result.outputs["video"].is_file() for result in results)
    api = standing_server["PREFECT_API_URL"]
    flows = {run["name"] for run in httpx.post(f"{api}/flow_runs/filter", json={}).json()}
    assert {f"archive run {run_id}", f"shard of {run_id}"} <= flows
    tasks = {run["name"] for run in httpx.post(f"{api}/task_runs/filter", json={}).json()}
    assert {"judge · reel-0", "publish · reel-1"} <= tasks
    attempt = archive.items()[0].attempts[0]
    assert attempt.prefect_flow_run_id is not None
    assert attempt.prefect_task_run_id is not None


def test_with_no_server_configured_the_command_brings_its_own_and_says_so(tmp_path: Path):
    archive = Archive(tmp_path, Place(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", str(tmp_path / "store")))
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
    assert "nothing had to be done again" in again.stderr
    assert "workflow engine" not in again.stderr, "what is finished needs no engine"


def test_a_private_server_ends_with_its_parent_even_when_that_is_killed(tmp_path: Path):
    code = (
        "import time; from flows.engine import PrivateServer; server = PrivateServer(); server.wait(); "
        "print(server.api_url, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    api_url = parent.stdout.readline().strip()
    assert answers(f"{api_url}/health")
    parent.kill()
    parent.wait()
    until(lambda: not answers(f"{api_url}/health"), 15, "the server's end")


def test_a_private_server_answers_without_waiting_for_delayed_acknowledgements(prefect_api: str):
    def seconds(client: httpx.Client) -> float:
        asked = time.perf_counter()
        client.get(f"{prefect_api}/flow_runs/{UUID(int=0)}")
        return time.perf_counter() - asked

    with httpx.Client() as client:
        # Linux delays them by 40 ms; the quickest of many answers does not depend on what else the machine does.
        assert min(seconds(client) for _ in range(20)) < 0.03


def test_a_server_that_cannot_start_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "nonsense://")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with PrivateServer() as server, pytest.raises(DeepSoundError, match="did not start") as caught:
        server.wait()
    assert "\n" not in str(caught.value)


def test_a_configured_server_that_is_not_there_is_one_clear_line(archive: Archive):
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
