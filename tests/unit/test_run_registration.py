"""What is worked on is the file that was registered, byte for byte, or nothing is."""

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from console.cli.settings import settings_from
from db.integrity.verify import verify_run
from db.schema.database import Ledger
from db.schema.records import StepRef
from db.schema.tables import WorkRow
from db.state.lease_queue import claim
from db.write.retries import retry_items
from deepsound.canonical_json import sha256_file
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.pipeline import OutcomeKind, Step
from deepsound.storage.folder_store import FolderStore
from deepsound.storage.location import location
from deepsound.storage.protocol import Artifact
from tasks.operations.run_registration import begin_run
from tasks.runtime.item import Item
from tasks.runtime.run_settings import Source
from tasks.runtime.source_access import open_original
from tasks.steps.recording import LAST_TRY
from tasks.steps.runner import reuse_step, run_step
from tests.archive_setup import Archive
from tests.third_party_backends import install_plugin
from tests.voiced_clips import silent_clip

LONG_AGO = (1_600_000_000, 1_600_000_000)
LONG_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
OTHER = "worker-2:4711:1"


MEANWHILE = """
from deepsound.generation.foley import Foley

class Plugin(Foley):
    name = "meanwhile"
    def generate(self, request, target):
        made = super().generate(request, target)
        with request.video.open("ab") as file:
            file.write(b"more")
        return made
"""


def only_item(archive: Archive, run: str) -> Item:
    [item] = archive.unfinished(run)
    return item


def code_of_next_step(archive: Archive, item: Item) -> ErrorCode | None:
    """The code that the next step fails with; None where it finishes."""
    try:
        assert archive.step(item) is not None
    except DeepSoundError as error:
        return error.code
    return None


def test_what_could_not_be_read_when_it_was_registered_is_never_worked_on(quiet_archive: Archive):
    reels = [quiet_archive.folder / f"{name}.mp4" for name in "ab"]
    run = quiet_archive.register(*reels)
    assert [result.error for result in quiet_archive.work_through(run)] == [
        f"{reel.stem}: plan: {reel}: there is no such file; check the path" for reel in reels
    ]
    for seconds, reel in zip((0.4, 0.5), reels, strict=True):
        silent_clip(reel, seconds=seconds)
    with quiet_archive.worker.ledger.write() as session:
        retry_items(session, run, error="source_missing", by="somebody")
    for result in quiet_archive.work_through(run):
        assert "it could not be read when the run was registered; run the command again" in (result.error or "")
    assert not quiet_archive.out.exists()
    [missing] = quiet_archive.work_through(quiet_archive.register(quiet_archive.folder / "c.mp4"))
    assert "there is no such file" in (missing.error or "")
    assert [item.attempts[-1].step_key for item in quiet_archive.items()] == [None] * 3


@pytest.mark.parametrize("way", ["put in its place", "written over"])
def test_a_change_that_keeps_times_and_size_is_noticed(quiet_archive: Archive, way: str):
    red, green = (silent_clip(quiet_archive.folder / name, seconds=0.4) for name in ("red.mp4", "green.mp4"))
    with green.open("ab") as file:
        file.write(b"other")
    with red.open("ab") as file:
        file.write(b"bytes")
    for reel in (red, green):
        os.utime(reel, LONG_AGO)
    item = only_item(quiet_archive, quiet_archive.register(red))
    if way == "put in its place":
        green.replace(red)
    else:
        red.write_bytes(green.read_bytes())
        os.utime(red, LONG_AGO)
    assert code_of_next_step(quiet_archive, item) is ErrorCode.SOURCE_CHANGED


def test_a_change_while_other_videos_were_still_read_is_noticed(quiet_archive: Archive):
    reel = silent_clip(quiet_archive.folder / "reel.mp4", seconds=0.4)
    item = only_item(quiet_archive, quiet_archive.register(reel))
    with reel.open("ab") as file:
        file.write(b"more")
    os.utime(reel, LONG_AGO)
    assert code_of_next_step(quiet_archive, item) is ErrorCode.SOURCE_CHANGED


def test_a_change_while_a_step_reads_is_noticed(quiet_archive: Archive, monkeypatch: pytest.MonkeyPatch):
    reel = silent_clip(quiet_archive.folder / "reel.mp4", seconds=0.4)
    install_plugin(quiet_archive.folder / "site", "deepsound.generators", "meanwhile", MEANWHILE)
    monkeypatch.syspath_prepend(quiet_archive.folder / "site")
    item = only_item(quiet_archive, quiet_archive.register(reel, generator="meanwhile"))
    planned = quiet_archive.step(item)
    assert planned is not None
    assert code_of_next_step(quiet_archive, planned) is ErrorCode.SOURCE_CHANGED


def test_what_was_submitted_is_taken_from_the_store_where_another_file_lies_in_its_place(quiet_archive: Archive):
    reel = silent_clip(quiet_archive.folder / "reel.mp4", seconds=0.4)
    listed = quiet_archive.folder / "list.csv"
    listed.write_text(f"source\n{reel}\n", encoding="utf-8")
    item = only_item(quiet_archive, quiet_archive.submit(listed, str(quiet_archive.out)))
    with open_original(item, quiet_archive.worker.store) as here:
        assert here == reel, "while it is the same, the store need not be asked"
    for other in (b"another video of this name", b""):
        reel.write_bytes(other)
        os.utime(reel, LONG_AGO)
        with open_original(item, quiet_archive.worker.store) as taken:
            assert sha256_file(taken) == item.video_sha256
    assert code_of_next_step(quiet_archive, item) is None


def test_a_folder_in_the_place_of_a_video_says_so(quiet_archive: Archive):
    folder: Path = quiet_archive.folder / "1950s.mp4"
    folder.mkdir()
    listed = quiet_archive.folder / "list.csv"
    listed.write_text(f"source\n{folder}\n", encoding="utf-8")
    item = only_item(quiet_archive, quiet_archive.register(listed))
    with pytest.raises(DeepSoundError, match="a folder, and nothing in it is part of this run"):
        quiet_archive.step(item)


def test_what_the_ledger_cannot_hold_of_one_video_is_its_failure_alone(quiet_archive: Archive):
    reels = [silent_clip(quiet_archive.folder / f"{name}.mp4", seconds=0.4) for name in ("huge", "fine")]
    settings = settings_from(out=str(quiet_archive.out)).run
    sources = [Source(location(reel), reel.stem, {"seed": 2**63} if reel.stem == "huge" else {}) for reel in reels]
    run, _ = begin_run(quiet_archive.worker, settings, sources, lambda _: None)
    huge, fine = quiet_archive.work_through(run)
    assert (huge.outcome, fine.outcome) == (OutcomeKind.FAILED, OutcomeKind.DONE)
    assert "OverflowError" in (huge.error or "")
    [attempt] = [each for item in quiet_archive.items() for each in item.attempts if each.status == "failed"]
    assert (attempt.step, attempt.error_code, attempt.seed) == ("generate", "internal", None)
    with quiet_archive.worker.ledger.read() as session:
        assert verify_run(session, run) == []


def test_a_worker_that_lost_its_lease_delivers_nothing(quiet_archive: Archive):
    reel = silent_clip(quiet_archive.folder / "reel.mp4", seconds=0.4)
    quiet_archive.work_through(quiet_archive.register(reel))
    with_another_name = quiet_archive.folder / "again.mp4"
    shutil.copyfile(reel, with_another_name)
    item = only_item(quiet_archive, quiet_archive.register(with_another_name))
    while (action := item.next_action()) is not None and action.step is not Step.PUBLISH:
        reused = reuse_step(quiet_archive.worker, item, action)
        assert reused is not None
        item = reused
    assert action is not None
    with quiet_archive.worker.ledger.write() as session:
        assert claim(session, item.id, StepRef(Step.PUBLISH), OTHER, 60)
    assert reuse_step(quiet_archive.worker, item, action) is None
    with pytest.raises(DeepSoundError) as caught:
        run_step(quiet_archive.worker, item, action, LAST_TRY)
    assert caught.value.code is ErrorCode.LEASE_LOST
    assert [path.name for path in quiet_archive.out.iterdir() if path.stem == "again"] == []


class TakenOverMeanwhile(FolderStore):
    """A store at which a worker is held up for so long that another takes its step."""

    def take_over(self, ledger: Ledger, item: int) -> None:
        self.ledger, self.item = ledger, item

    def put(self, source: Path, media_type: str) -> Artifact:
        kept = super().put(source, media_type)
        with self.ledger.write() as session:
            session.execute(update(WorkRow).values(lease_until=LONG_BEFORE))
            claim(session, self.item, StepRef(Step.PUBLISH), OTHER, 60)
        return kept


def test_a_worker_that_lost_its_lease_while_it_worked_delivers_nothing(quiet_archive: Archive):
    reel = silent_clip(quiet_archive.folder / "reel.mp4", seconds=0.4)
    item = only_item(quiet_archive, quiet_archive.register(reel))
    while (action := item.next_action()) is not None and action.step is not Step.PUBLISH:
        item = run_step(quiet_archive.worker, item, action, LAST_TRY)
    assert action is not None
    store = TakenOverMeanwhile(quiet_archive.folder / "store")
    store.take_over(quiet_archive.worker.ledger, item.id)
    with pytest.raises(DeepSoundError) as caught:
        run_step(replace(quiet_archive.worker, store=store), item, action, LAST_TRY)
    assert caught.value.code is ErrorCode.LEASE_LOST
    assert not quiet_archive.out.exists()
