"""What is submitted fits, or is refused before anything is stored; and once it is registered, the store has it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from console.cli.settings import settings_from
from db.schema.run_records import EventKind
from db.write.run_events import record_event
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.storage.s3_location import S3Location
from flows.scheduled_run import dub_on_schedule
from tasks.operations.retention import sweep_orphans
from tasks.operations.run_activity import stop_reason
from tasks.operations.submission import Submission, submit, take_stock
from tasks.runtime.run_settings import Source
from tasks.runtime.source_access import registered_sha256
from tasks.runtime.stores import StoreUrls, using_stores
from tasks.steps.recording import LAST_TRY
from tasks.steps.runner import run_step
from tests.archive_setup import Archive
from tests.s3_servers import S3Server, a_bucket_name
from tests.voiced_clips import silent_clip

MEGABYTE = 10**6


def submitted(archive: Archive, *reels: Path, on_read: Callable[[Source], None] = lambda _: None) -> str:
    order = an_order(archive, *reels)
    return submit(archive.worker, order, take_stock(order), on_read)[0]


def an_order(archive: Archive, *reels: Path) -> Submission:
    settings = settings_from(out=str(archive.out)).run
    return Submission([str(reel) for reel in reels], settings, None, "cpu", "normal", None)


def a_reel(path: Path) -> Path:
    """0.4 s of picture in a megabyte; what is made of it takes another, and half of one for its sound."""
    with silent_clip(path, seconds=0.4).open("ab") as file:
        file.write(path.name.encode() * (MEGABYTE // len(path.name)))
    return path


@pytest.fixture
def bucket(moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Location:
    for name, value in moto.environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    return S3Location(a_bucket_name(), "archive")


def test_what_the_store_has_and_what_is_done_needs_no_room(
    bucket: S3Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    archive = Archive(tmp_path, StoreUrls(db=f"sqlite:///{tmp_path / 'ledger.sqlite3'}", store=str(bucket)))
    reels = [a_reel(tmp_path / f"{name}.mp4") for name in "ab"]
    monkeypatch.setenv("DEEPSOUND_STORE_QUOTA_GB", "0.0045")
    with pytest.raises(DeepSoundError, match="the store may need") as caught:
        submitted(archive, *reels)
    assert caught.value.code is ErrorCode.DISK_FULL
    assert bucket.bytes_used() == 0, "it was refused before anything was stored"
    monkeypatch.setenv("DEEPSOUND_STORE_QUOTA_GB", "0.0055")
    run = submitted(archive, *reels)
    assert bucket.bytes_used() > 2 * MEGABYTE
    assert submitted(archive, *reels) == run, "its sources are there, so there is room for the rest"
    first, _ = archive.unfinished(run)
    while (action := first.next_action()) is not None:
        first = run_step(archive.worker, first, action, LAST_TRY)
    left = 1.6 * MEGABYTE
    monkeypatch.setenv("DEEPSOUND_STORE_QUOTA_GB", f"{(bucket.bytes_used() + left) / 10**9:f}")
    assert submitted(archive, *reels) == run, "there is room for the one that is not done"


@pytest.mark.parametrize("kind", [EventKind.PAUSED, EventKind.CANCELLED, EventKind.BUDGET_SPENT])
def test_a_standing_order_leaves_a_run_that_was_stopped_and_a_person_takes_it_up_again(
    quiet_archive: Archive, kind: EventKind
):
    reel = silent_clip(quiet_archive.folder / "reel.mp4", seconds=0.4)
    run = submitted(quiet_archive, reel)
    with quiet_archive.worker.ledger.write() as session:
        record_event(session, run, kind, by="kim@desk")
    with using_stores(quiet_archive.place):
        assert asyncio.run(dub_on_schedule.fn(an_order(quiet_archive, reel).to_json())) == run
    assert stop_reason(quiet_archive.worker, run) is not None
    assert submitted(quiet_archive, reel) == run
    assert stop_reason(quiet_archive.worker, run) is None


def test_sources_that_housekeeping_took_for_orphans_are_stored_again(quiet_archive: Archive):
    reels = [
        silent_clip(quiet_archive.folder / f"{name}.mp4", seconds=s)
        for name, s in {"one": 0.4, "two": 0.5}.items()
    ]
    submitted(quiet_archive, reels[0])
    swept: list[int] = []

    def clear_up(source: Source) -> None:
        if source.output_name == "two":
            swept.append(sweep_orphans(quiet_archive.worker, timedelta(0)))

    run = submitted(quiet_archive, *reels, on_read=clear_up)
    assert sum(swept) == 1
    items = quiet_archive.unfinished(run)
    assert all(quiet_archive.worker.store.has(registered_sha256(item)) for item in items)
