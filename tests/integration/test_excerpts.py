"""Rows of a list that mean parts of videos: only the part is looked at, sounded, judged and delivered."""

import json
from pathlib import Path

import numpy as np
import pytest

from db.integrity.verify import verify_run
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import audio_format
from deepsound.media.probe import probe
from tasks.operations.run_results import ItemResult
from tasks.runtime.item_footage import evict_footage
from tasks.runtime.stores import StoreUrls
from tasks.steps.recording import LAST_TRY
from tasks.steps.runner import run_step
from tests.archive_setup import Archive
from tests.made_clips import tone, write_clip
from tests.s3_servers import S3Server, a_bucket_name
from tests.unit.test_media_excerpt import REORDERED, samples_of, shown

pytestmark = pytest.mark.integration


def a_reel(folder: Path) -> Path:
    """Two seconds of numbered frames under a tone of 440 Hz and one of 880."""
    sound = np.concatenate([tone(440, 1.0), tone(880, 1.0)])
    return write_clip(folder / "reel.mp4", seconds=2.0, options=REORDERED, audio=sound)


def a_list(folder: Path, *rows: str, columns: str = "source,output,start,end") -> Path:
    manifest = folder / "list.csv"
    manifest.write_text("\n".join([columns, *rows]) + "\n")
    return manifest


def done(archive: Archive, *rows: str) -> list[ItemResult]:
    """What becomes of a list."""
    return archive.work_through(archive.register(a_list(archive.folder, *rows)))


def numbers(path: Path) -> list[int]:
    return [number for _, number in shown(path)]


def test_a_part_is_delivered_with_its_pictures_and_its_own_sound(archive: Archive):
    a_reel(archive.folder)
    manifest = a_list(archive.folder, "reel.mp4,early,0.2,0.6", "reel.mp4,late,00:00:01.24,00:00:01.6")
    early, late = archive.dub(manifest, generator="soundtrack", loudness="none")
    assert (early.error, late.error) == (None, None)
    assert numbers(early.outputs["video"].path) == list(range(5, 15))
    assert numbers(late.outputs["video"].path) == list(range(31, 40))
    for result, seconds, heard in ((early, 0.4, 440), (late, 0.36, 880)):
        assert audio_format(result.outputs["audio"].path).samples == round(seconds * 48_000)
        assert probe(result.outputs["video"].path).duration == pytest.approx(seconds)
        assert pitch(result.outputs["video"].path) == pytest.approx(heard, rel=0.02)
    told = json.loads(early.outputs["sidecar"].path.read_text())["source"]
    assert (told["start"], told["end"]) == (pytest.approx(0.2), pytest.approx(0.6))
    assert Path(told["path"]).name == "reel.mp4"
    first, second = archive.items()
    assert first.video_sha256 == second.video_sha256, "the ledger knows the original"
    assert first.overrides == {"start": 0.2, "end": 0.6}


def pitch(path: Path) -> float:
    rate, heard = samples_of(path)
    loudness = np.abs(np.fft.rfft(heard[:, 0]))
    return float(np.argmax(loudness) * rate / len(heard))


def test_the_same_part_under_another_name_shares_its_steps_and_another_part_does_not(quiet_archive: Archive):
    a_reel(quiet_archive.folder)
    [first] = done(quiet_archive, "reel.mp4,one,0.2,0.6")
    same, other = done(quiet_archive, "reel.mp4,two,0:00.2,0.600", "reel.mp4,three,0.24,0.6")
    assert not first.was_reused
    assert same.was_reused
    assert not any(step.is_reused for step in other.steps)
    assert numbers(same.outputs["video"].path) == numbers(first.outputs["video"].path)
    assert numbers(other.outputs["video"].path) == list(range(6, 15))


def test_every_row_beyond_the_end_of_its_video_is_named_and_nothing_starts(quiet_archive: Archive):
    a_reel(quiet_archive.folder)
    rows = ("reel.mp4,a,0.2,0.6", "reel.mp4,b,2.5,", "reel.mp4,c,1,3", "gone.mp4,d,1,3")
    with pytest.raises(DeepSoundError) as caught:
        quiet_archive.register(a_list(quiet_archive.folder, *rows))
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    line = str(caught.value)
    assert "list.csv, line 3: it starts at 2.5 s, and the video ends after 2.000 s" in line
    assert "list.csv, line 4: it ends at 3 s, and the video after 2.000 s" in line
    assert "line 2" not in line
    assert quiet_archive.items() == []


def test_workers_that_see_no_source_do_parts_from_the_store_and_later_steps_without_the_original(
    quiet_archive: Archive,
):
    reel = a_reel(quiet_archive.folder)
    manifest = a_list(quiet_archive.folder, "reel.mp4,part,0.2,0.6")
    run = quiet_archive.submit(manifest, str(quiet_archive.out))
    reel.unlink()
    [item] = quiet_archive.unfinished(run)
    run_step(quiet_archive.worker, item, item.next_action(), LAST_TRY)
    evict_footage(item, quiet_archive.worker.footage)
    quiet_archive.worker.store.delete(item.video_sha256)
    quiet_archive.work_through(run)
    assert numbers(quiet_archive.out / "part.mp4") == list(range(5, 15))


def test_parts_of_what_lies_in_a_bucket_are_delivered_into_one(
    moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in moto.environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    archive = Archive(
        tmp_path, StoreUrls(db=f"sqlite:///{tmp_path / 'ledger.sqlite3'}", store=f"s3://{a_bucket_name()}/store")
    )
    client, bucket = moto.client(), a_bucket_name()
    client.make_bucket(bucket)
    client.fput_object(bucket, "reels/reel.mp4", str(a_reel(tmp_path)))
    place = f"s3://{bucket}/reels/reel.mp4"
    run = archive.submit(a_list(tmp_path, f"{place},a,0.2,0.6", f"{place},b,1.4,"), f"s3://{bucket}/out")
    archive.work_through(run)
    for name, expected in (("a", range(5, 15)), ("b", range(35, 50))):
        client.fget_object(bucket, f"out/{name}.mp4", str(tmp_path / f"{name}.mp4"))
        assert numbers(tmp_path / f"{name}.mp4") == list(expected)
    with archive.worker.ledger.read() as session:
        assert verify_run(session, run) == []


def test_a_part_is_cut_again_where_retention_deleted_it(quiet_archive: Archive):
    a_reel(quiet_archive.folder)
    done(quiet_archive, "reel.mp4,one,0.2,0.6")
    [excerpt] = [
        link.artifact_sha256
        for item in quiet_archive.items()
        for attempt in item.attempts
        for link in attempt.artifacts
        if (link.role, link.direction) == ("excerpt", "output")
    ]
    quiet_archive.worker.store.delete(excerpt)
    [again] = done(quiet_archive, "reel.mp4,two,0.2,0.6")
    assert [step.is_reused for step in again.steps] == [False, True, True, True]
    assert quiet_archive.worker.store.has(excerpt), "the same part is the same bytes"
