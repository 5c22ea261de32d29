"""Archives of sixty real and broken videos, handed to real workers while what they depend on fails around them.

Each test is one run from its submission to its last video, with faults one after another. Each fault is shown to
have been felt, and after each run the books are checked: see `Sixty.check_books`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deepsound.errors import ErrorCode
from tests.fault_archive import Sixty, for_seconds, sixty_videos
from tests.full_disk import small_room
from tests.prefect_workers import until
from tests.s3_gateway import Refusal
from tests.s3_servers import S3Server
from tests.wrong_clock import wrong_clock

pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory, moto: S3Server) -> Iterator[Sixty]:
    with sixty_videos(tmp_path_factory.mktemp("sixty"), moto) as sixty:
        yield sixty


@pytest.fixture
def two_workers(sixty: Sixty) -> Iterator[Sixty]:
    """Fresh ones for each test."""
    sixty.worker()
    sixty.worker()
    yield sixty
    sixty.kill_workers()


def test_the_ledger_is_restarted_and_hangs_and_workers_die_in_the_middle_of_a_commit(two_workers: Sixty):
    sixty = two_workers
    run = sixty.submit()
    sixty.wait_for(run, ended=5)

    sixty.postgres.stop()
    for_seconds(40)
    sixty.postgres.start()
    assert "no heartbeat" in sixty.said(), "the restart was felt"
    sixty.wait_for(run, ended=15)

    with sixty.postgres.paused():
        paused = datetime.now(UTC)
        for_seconds(30)
        resumed = datetime.now(UTC)
    sixty.wait_for(run, ended=25)
    assert sixty.waited(run, paused, resumed), "the pause was felt"
    assert sixty.deaths(run) == 0, "nobody is taken for dead because the ledger was away"
    assert "vanished" not in sixty.said()

    with sixty.commits_waiting():
        sixty.kill_workers()
    assert sixty.shifts_that_never_ended(run) >= 1
    sixty.worker()
    sixty.worker()
    sixty.wait_for_end(run)
    sixty.check_books(run)
    assert not {ErrorCode.QUARANTINED, ErrorCode.INTERNAL} & {*sixty.errors(run)}


def test_the_store_is_slow_fails_cuts_goes_away_and_is_full_and_workers_die_in_the_middle_of_an_upload(
    two_workers: Sixty,
):
    sixty, gateway = two_workers, two_workers.gateway
    run = sixty.submit()

    gateway.delay = 0.02
    until(lambda: any("uploadId=" in path for path in gateway.uploading), 240, "an upload in parts")
    sixty.kill_workers()
    until(lambda: gateway.met["broken off"], 10, "the broken upload")
    assert gateway.met["delayed"] > 100, "that it was slow was felt"
    gateway.delay = 0.0
    sixty.worker()
    sixty.worker()
    sixty.wait_for(run, ended=8)

    gateway.refusal = Refusal(503, "SlowDown", every=3)
    until(lambda: gateway.met["answered 503"] >= 20, 120, "20 requests refused")
    gateway.refusal = Refusal(0, every=3)
    until(lambda: gateway.met["cut"] >= 20, 120, "20 connections cut")
    gateway.refusal = None
    assert not gateway.met["answered 507"]
    assert ErrorCode.STORE_UNREACHABLE not in sixty.errors(run), "repeated requests are enough"
    sixty.wait_for(run, ended=20)

    gateway.close()
    for_seconds(60)
    gateway.open()
    until(lambda: ErrorCode.STORE_UNREACHABLE in sixty.errors(run), 60, "a step that was tried again")
    sixty.wait_for(run, ended=25)
    assert ErrorCode.STORE_UNREACHABLE not in sixty.pool.progress(run).errors, "it was waited for"

    gateway.refusal = Refusal(507, "XMinioStorageFull", method="PUT")
    until(lambda: gateway.met["answered 507"] >= 3, 120, "3 uploads refused")
    gateway.refusal = None
    sixty.wait_for_end(run)
    assert ErrorCode.DISK_FULL in sixty.pool.progress(run).errors
    sixty.pool.run("retry", run, "--error", "disk_full")
    sixty.wait_for_end(run)
    sixty.check_books(run)


def test_machines_differ_in_their_clocks_run_full_and_meet_videos_that_break_them(sixty: Sixty, tmp_path: Path):
    an_hour_ahead = wrong_clock(tmp_path, 3600)
    sixty.replace_follower(**an_hour_ahead)
    # What comes from the store is a file with its hash for a name.
    breaks_its_decoder = f"crash:{sixty.motley.sha256('reel-06')}"
    faults = {"DEEPSOUND_FAULT": "judge.begun:reel-05", "DEEPSOUND_DECODER_FAULT": breaks_its_decoder}
    with small_room(tmp_path / "room") as room:
        sixty.worker(**faults)
        sixty.worker(**faults, **an_hour_ahead, TMPDIR=str(room.folder))
        run = sixty.submit()
        until(lambda: len(sixty.at_work(run)) == 2, 240, "the work of both")
        # A process that finds no room when it first looks for some goes to another folder.
        until(lambda: [*room.folder.glob("deepsound-*")], 60, "a step in the small room")
        with room.full():
            until(lambda: sixty.errors(run)[ErrorCode.DISK_FULL] >= 2, 240, "two steps without room")
        sixty.wait_for(run, ended=15)

        assert sixty.at_work(run)
        sixty.pool.server.kill()
        away = datetime.now(UTC)
        for_seconds(10)
        sixty.pool.server.start()
        back = datetime.now(UTC)
        sixty.wait_for_end(run)
        assert sixty.waited(run, away, back), "steps went on without Prefect"
        sixty.pool.run("retry", run, "--error", "disk_full")
        sixty.wait_for_end(run)
    sixty.kill_workers()
    started = [attempt.started_at for item in sixty.items(run) for attempt in item.attempts]
    assert max(started) - datetime.now(UTC) > timedelta(minutes=50), "one worker lived in the future"
    assert sixty.errors(run)[ErrorCode.QUARANTINED] == 1
    sixty.check_books(run, **{"reel-05": ErrorCode.QUARANTINED, "reel-06": ErrorCode.DECODER_CRASHED})
