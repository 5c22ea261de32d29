"""Several worker processes on one run: lost steps are taken over, and no step is done twice."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.integrity.reconcile import ItemStatus, reconcile_run
from db.read.items import run_ids
from db.read.queries import deaths
from db.read.run_progress import open_items
from db.read.worker_status import live_worker_sessions
from db.state.lease_owner import lease_seconds
from db.write.retries import retry_items
from deepsound.errors import ErrorCode
from deepsound.pipeline import OutcomeKind
from flows.concurrency import CPU_BOUND_VIDEOS
from tasks.operations.run_audit import verify_books
from tests.archive_setup import Archive
from tests.voiced_clips import silent_clip

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

STEPS = ["plan", "generate", "judge", "publish"]


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sets leases of 1 s in this process and its child processes."""
    monkeypatch.setenv("DEEPSOUND_LEASE_SECONDS", "1")
    lease_seconds.cache_clear()
    yield
    lease_seconds.cache_clear()


def reels(archive: Archive, count: int) -> Path:
    folder = archive.folder / "reels"
    folder.mkdir()
    for number in range(1, count + 1):
        silent_clip(folder / f"reel-{number}.mp4", seconds=0.5 + number / 10)
    return folder


def start_worker(archive: Archive, run_id: str, **environment: str) -> "subprocess.Popen[bytes]":
    """Starts a process that works on a run, like a process of a Prefect worker."""
    program = (
        "import sys; from flows.local_run import drive_run;"
        "from tasks.runtime.stores import environment_store_urls as here;"
        "from tasks.runtime.worker import open_worker; drive_run(open_worker(here()), here(), sys.argv[1], print)"
    )
    command = [sys.executable, "-c", program, run_id]
    return subprocess.Popen(command, env=archive.variables(**environment), stdout=subprocess.DEVNULL)


def only_run(archive: Archive) -> str:
    with archive.worker.ledger.read() as session:
        [run_id] = run_ids(session)
    return run_id


def check_books(archive: Archive, run_id: str) -> None:
    """Checks that `audit verify` and `audit reconcile` find nothing."""
    assert verify_books(archive.worker, run_id).findings == []
    with archive.worker.ledger.read() as session:
        reconciled = reconcile_run(session, run_id)
    assert reconciled is not None
    assert reconciled.is_clean, reconciled.problems


def wait_for_leases_to_expire() -> None:
    time.sleep(1.5)


def test_another_worker_takes_over_when_the_lease_of_a_killed_one_expires(archive: Archive, short_leases: None):
    clip = silent_clip(archive.folder / "ball.mp4")
    assert archive.command("dub", clip, DEEPSOUND_FAULT="judge.begun").returncode == -signal.SIGKILL
    wait_for_leases_to_expire()
    run_id = only_run(archive)
    with archive.worker.ledger.read() as session:
        [left] = open_items(session, run_id)
        assert deaths(session, [left.id]) == {left.id: 1}
        assert live_worker_sessions(session, run_id) == []
    [result] = archive.drive(run_id)
    assert result.outcome is OutcomeKind.DONE
    [item] = archive.items()
    assert [(attempt.step, attempt.status) for attempt in item.attempts] == [(step, "done") for step in STEPS]
    check_books(archive, run_id)


def test_a_video_that_kills_its_worker_twice_is_quarantined_and_the_others_are_done(
    archive: Archive, short_leases: None, monkeypatch: pytest.MonkeyPatch
):
    run_id = archive.register(reels(archive, 3))
    for _ in range(2):
        killed = start_worker(archive, run_id, DEEPSOUND_FAULT="judge.begun:reel-2")
        assert killed.wait(timeout=240) == -signal.SIGKILL
        wait_for_leases_to_expire()
    results = {result.name: result for result in archive.drive(run_id)}
    assert {name: result.outcome for name, result in results.items()} == {
        "reel-1": OutcomeKind.DONE,
        "reel-2": OutcomeKind.FAILED,
        "reel-3": OutcomeKind.DONE,
    }
    assert "judge killed its worker twice and was set aside" in str(results["reel-2"].error)
    assert f"deepsound run retry {run_id} --error quarantined" in str(results["reel-2"].error)
    for item in archive.items():
        fate = "failed" if item.output_name == "reel-2" else "done"
        assert [attempt.status for attempt in item.attempts if attempt.step == "judge"] == [fate]
    with archive.worker.ledger.read() as session:
        reconciled = reconcile_run(session, run_id)
    assert reconciled is not None
    assert reconciled.status_counts == {ItemStatus.DONE: 2, ItemStatus.QUARANTINED: 1}
    check_books(archive, run_id)

    with archive.worker.ledger.write() as session:
        [again] = retry_items(session, run_id, error=ErrorCode.QUARANTINED, by="kim@desk")
    assert {result.outcome for result in archive.drive(run_id)} == {OutcomeKind.DONE}
    [item] = [item for item in archive.items() if item.id == again]
    assert [attempt.step for attempt in item.attempts] == ["plan", "generate", "judge", "judge", "publish"]
    check_books(archive, run_id)


def test_two_workers_on_the_same_run_process_each_video_once(archive: Archive):
    run_id = archive.register(reels(archive, 8 * CPU_BOUND_VIDEOS))
    other = start_worker(archive, run_id)
    while not has_live_shard(archive, run_id):
        assert other.poll() is None
        time.sleep(0.05)
    archive.drive(run_id)
    assert other.wait(timeout=240) == 0
    items = archive.items()
    for item in items:
        assert [(attempt.step, attempt.status) for attempt in item.attempts] == [(step, "done") for step in STEPS]
    assert len({attempt.prefect_flow_run_id for item in items for attempt in item.attempts}) == 2, (
        "both workers had videos"
    )
    check_books(archive, run_id)


def has_live_shard(archive: Archive, run_id: str) -> bool:
    with archive.worker.ledger.read() as session:
        return any(shift.flow_run_id for shift in live_worker_sessions(session, run_id))
