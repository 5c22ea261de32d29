"""What is worked on is the file that was registered, byte for byte, or nothing is."""

from pathlib import Path

import pytest

from db.reopening import reopen_items
from deepsound.errors import DeepSoundError
from tasks.job import Job
from tasks.perform import LAST_TRY, perform
from tasks.run import load_jobs, unfinished_items
from tests.archive import Archive
from tests.footage import silent_clip


def only_job(archive: Archive, run: str) -> Job:
    [job] = load_jobs(archive.worker, run, unfinished_items(archive.worker, run))
    return job


def test_what_could_not_be_read_when_it_was_registered_is_never_worked_on(quiet_archive: Archive):
    reels = [quiet_archive.folder / f"{name}.mp4" for name in "ab"]
    run = quiet_archive.register(*reels)
    assert [result.error for result in quiet_archive.work_through(run)] == [
        f"{reel.stem}: plan: {reel}: there is no such file; check the path" for reel in reels
    ]
    for seconds, reel in zip((0.4, 0.5), reels, strict=True):
        silent_clip(reel, seconds=seconds)
    with quiet_archive.worker.ledger.write() as session:
        reopen_items(session, run, error="source_missing", by="somebody")
    for result in quiet_archive.work_through(run):
        assert "it could not be read when the run was registered; run the command again" in (result.error or "")
    assert not quiet_archive.out.exists()
    [missing] = quiet_archive.work_through(quiet_archive.register(quiet_archive.folder / "c.mp4"))
    assert "there is no such file" in (missing.error or "")
    assert [item.attempts[-1].step_key for item in quiet_archive.items()] == [None] * 3


def test_a_folder_in_the_place_of_a_video_says_so(quiet_archive: Archive):
    folder: Path = quiet_archive.folder / "1950s.mp4"
    folder.mkdir()
    listed = quiet_archive.folder / "list.csv"
    listed.write_text(f"source\n{folder}\n", encoding="utf-8")
    job = only_job(quiet_archive, quiet_archive.register(listed))
    action = job.next_action()
    assert action is not None
    with pytest.raises(DeepSoundError, match="a folder, and nothing in it is part of this run"):
        perform(job, action, LAST_TRY)
