"""Archive runs that lose a worker, a machine or the Prefect server. Each test ends with an audit."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from db.read.run_progress import run_list
from deepsound.pipeline import OutcomeKind
from tasks.runtime.stores import StoreUrls
from tests.archive_setup import Archive
from tests.integration.test_archive_runs import make_reels, submit
from tests.prefect_workers import Pool, kill_group, until

# These tests wait for leases to expire, so only `make test-integration` runs them.
pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.timeout(900)]

TWO_MINUTES = 120.0


def partly_done_run(pool: Pool, name: str) -> str:
    """Submits a run and waits until at least one video has ended and others have not."""
    run = submit(pool, make_reels(pool.archive.folder / name, 5, seconds=1.0), "--priority", "high")
    until(lambda: 0 < pool.progress(run).open_items < 5, 180, "the end of the first video")
    return run


def check_books(pool: Pool, run: str) -> None:
    """Checks that all videos are done, that audits find nothing, and that no step has two results."""
    assert pool.progress(run).outcomes == {OutcomeKind.DONE: 5}
    for check in ("verify", "reconcile"):
        done = pool.archive.command("audit", check, run)
        assert done.returncode == 0, done.stdout + done.stderr
    attempts = [attempt for item in pool.archive.items() if item.run_id == run for attempt in item.attempts]
    finished = [(each.item_id, each.step, each.round) for each in attempts if each.status != "failed"]
    assert len(finished) == len(set(finished))


def seconds_to_next_attempt(pool: Pool, run: str, since: datetime) -> float:
    starts = [
        attempt.started_at for item in pool.archive.items() if item.run_id == run for attempt in item.attempts
    ]
    return (min(start for start in starts if start > since) - since).total_seconds()


def wait_for_end(pool: Pool, run: str, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
    deadline = time.monotonic() + seconds
    while pool.progress(run).open_items:
        assert time.monotonic() < deadline, f"the run did not end within {seconds} s"
        meanwhile()
        time.sleep(1)


def test_another_worker_continues_within_two_minutes_after_a_worker_is_killed(pool: Pool):
    run = partly_done_run(pool, "worker-killed")
    killed = datetime.now(UTC)
    kill_group(pool.workers.pop())
    pool.worker("gpu")
    wait_for_end(pool, run, 300)
    assert seconds_to_next_attempt(pool, run, killed) < TWO_MINUTES
    check_books(pool, run)


def test_new_workers_and_a_sweep_replace_a_lost_machine_within_two_minutes(pool: Pool):
    run = partly_done_run(pool, "machine-lost")
    killed = datetime.now(UTC)
    while pool.workers:
        kill_group(pool.workers.pop())
    pool.worker("followers", limit=3)
    pool.worker("gpu")
    # The schedule sweeps every minute; this loop sweeps more often to shorten the test.
    wait_for_end(pool, run, 400, meanwhile=lambda: (pool.run("sweep"), time.sleep(10)))
    assert seconds_to_next_attempt(pool, run, killed) < TWO_MINUTES
    check_books(pool, run)


def test_a_run_survives_a_restart_of_the_prefect_server(pool: Pool):
    run = partly_done_run(pool, "server-restarted")
    pool.server.kill()
    pool.server.start()
    wait_for_end(pool, run, 400)
    check_books(pool, run)


class UnresponsiveServer(BaseHTTPRequestHandler):
    """A server that reports to be healthy and answers 503 to every other request."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - the name http.server looks for

    def log_message(self, *_: object) -> None:
        pass


def test_an_unresponsive_prefect_server_is_one_error_line_and_the_run_stays_registered(tmp_path: Path):
    reels = make_reels(tmp_path / "reels", 1)
    archive = Archive(
        tmp_path, StoreUrls(db=f"sqlite:///{tmp_path / 'ledger.sqlite3'}", store=str(tmp_path / "store"))
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), UnresponsiveServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        unwell = {
            "PREFECT_API_URL": f"http://127.0.0.1:{server.server_port}/api",
            "PREFECT_CLIENT_MAX_RETRIES": "0",
            "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        }
        done = archive.command("run", "submit", reels, **unwell)
        server.shutdown()
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "does not do what it is asked" in line
    assert "deepsound run sweep" in line
    assert "Traceback" not in done.stderr
    with archive.worker.ledger.read() as session:
        assert [line.open_items for line in run_list(session)] == [1]
