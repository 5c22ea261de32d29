"""Test support: a Prefect server with our pools and deployments, and Prefect workers as processes.

`start_pool` provides server and deployments. The fixture `pool` adds a ledger on SQLite, a store in a folder, a
worker for the pool `followers` and one for `gpu`. A test that uses a flow of the pool `cpu` starts its own worker.
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from db.read.run_progress import RunProgress, run_progress
from tasks.runtime.stores import StoreUrls
from tests.archive_setup import Archive
from tests.s3_servers import free_port

ROOT = Path(__file__).parents[1]
SERVER_SETTINGS = ROOT / "prefect-server.env"
PREFECT = str(Path(sys.executable).with_name("prefect"))


def until(is_true: Callable[[], object], seconds: float, what: str) -> None:
    """Polls a condition; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.3)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False


@dataclass
class PrefectServer:
    """`prefect server start` as an operator runs it; `kill` and `start` restart it on the same data."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def environment(self) -> dict[str, str]:
        lines = SERVER_SETTINGS.read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        return settings | {
            "PREFECT_HOME": str(self.folder),
            "PREFECT_API_URL": self.api_url,
            # No scheduled sweep interferes with a test; tests start sweeps themselves.
            "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    def start(self) -> None:
        command = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(self.port), "--no-ui"]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(lambda: answers(f"{self.api_url}/health"), 240, "the start of the server")

    def kill(self) -> None:
        if self.process is not None:
            kill_group(self.process)


@dataclass
class Pool:
    """An archive, a Prefect server with our deployments, and the started workers."""

    archive: Archive
    server: PrefectServer
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def prefect(self, *arguments: str) -> str:
        done = subprocess.run(
            [PREFECT, *arguments],
            env=self.archive.variables(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deploy(self) -> None:
        """Creates our pools over the API, because each `prefect` command takes seconds, and our deployments."""
        with httpx.Client(base_url=self.server.api_url) as api:
            for pool in ("followers", "cpu", "gpu"):
                api.post("/work_pools/", json={"name": pool, "type": "process"}).raise_for_status()
            self.prefect("deploy", "--all")

    def worker(self, pool: str, limit: int = 1, **environment: str) -> subprocess.Popen[bytes]:
        """Starts a worker; `kill_group` ends it together with the processes it started."""
        started = len(list(self.archive.folder.glob("worker-*.log")))
        log = self.archive.folder / f"worker-{started:02}-{pool}.log"
        worker = subprocess.Popen(
            [PREFECT, "worker", "start", "--pool", pool, "--limit", str(limit)],
            env=self.archive.variables(PREFECT_WORKER_QUERY_SECONDS="1", **environment),
            cwd=ROOT,
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.workers.append(worker)
        return worker

    def run(self, *arguments: object, expect: int = 0) -> str:
        """Runs `deepsound run ...` and returns its standard output."""
        done = self.archive.command("run", *arguments)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def progress(self, run_id: str) -> RunProgress:
        with self.archive.worker.ledger.read() as session:
            progress = run_progress(session, run_id)
        assert progress is not None
        return progress

    def wait_for_end(self, run_id: str, seconds: float = 180) -> RunProgress:
        until(lambda: self.progress(run_id).open_items == 0, seconds, "the end of the run")
        return self.progress(run_id)

    def close(self) -> None:
        for worker in self.workers:
            kill_group(worker)
        self.server.kill()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and its descendants; flow runs have sessions of their own, so `killpg` would miss them."""
    with suppress(psutil.NoSuchProcess):
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


def new_seal_key(folder: Path) -> str:
    """Writes a new Ed25519 key and returns its path."""
    key, file = Ed25519PrivateKey.generate(), folder / "seal.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o400)
    return str(file)


@contextmanager
def start_pool(folder: Path, place: StoreUrls, **environment: str) -> Iterator[Pool]:
    """Starts a server with our deployments; the test starts workers."""
    server = PrefectServer(folder / "prefect")
    archive = Archive(folder, place, {**server.environment, **environment})
    pool = Pool(archive, server)
    try:
        server.start()
        pool.deploy()
        yield pool
    finally:
        pool.close()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """One pool for all tests of a module, because starting one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("pool")
    place = StoreUrls(db=f"sqlite:///{folder / 'ledger.sqlite3'}", store=str(folder / "store"))
    with start_pool(
        folder, place, DEEPSOUND_LEASE_SECONDS="6", DEEPSOUND_SEAL_KEY=new_seal_key(folder)
    ) as started:
        started.worker("followers", limit=3)
        started.worker("gpu")
        yield started
