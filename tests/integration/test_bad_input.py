"""Bad input gets one line naming file, step and remedy; the other videos are done."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from console.cli.app import app
from db.integrity.verify import verify_run
from deepsound.pipeline import OutcomeKind
from flows.local_run import drive_run
from flows.progress_events import ProgressEvent, progress_listener
from tests.archive_setup import Archive
from tests.made_clips import write_clip
from tests.third_party_backends import install_plugin
from tests.voiced_clips import silent_clip

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("this is a shopping list\n", encoding="utf-8")


def headless(path: Path) -> None:
    """An MP4 whose index was never written."""
    whole = silent_clip(path.with_suffix(".whole.mp4"), seconds=0.5)
    path.write_bytes(whole.read_bytes().replace(b"moov", b"gone"))
    whole.unlink()


def playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", encoding="utf-8")


FRAGILE = """
from deepsound.generation.foley import Foley

class Plugin(Foley):
    name = "fragile"
    def generate(self, request, target):
        if "broken" in request.video.name:
            raise ZeroDivisionError("no frames a second")
        return super().generate(request, target)
"""

BAD = {
    empty: "source_empty",
    text: "source_not_media",
    headless: "source_corrupt",
    playlist: "source_not_media",
}


def test_a_hundred_good_and_bad_files_in_one_run(archive: Archive):
    reels = archive.folder / "reels"
    reels.mkdir()
    expected: dict[str, str | None] = {}
    for number in range(100):
        name = f"{number:03d} Tonband „ärgerlich“ 🎞"
        make = list(BAD)[number // 5 % len(BAD)] if number % 5 == 4 else None
        if make is None:
            write_clip(reels / f"{name}.mp4", seconds=0.3, size=(64, 48))
        else:
            make(reels / f"{name}.mp4")
        expected[name] = BAD[make] if make else None
    results = archive.dub(reels)
    assert len(results) == 100
    codes = {item.output_name: item.attempts[-1].error_code for item in archive.items()}
    assert codes == expected
    for result in results:
        if expected[result.name] is None:
            assert result.outcome is OutcomeKind.DONE
            assert result.outputs["video"].path.is_file()
        else:
            assert result.outcome is OutcomeKind.FAILED
            assert "\n" not in result.error
            assert result.name in result.error
            assert result.error.startswith(f"{result.name}: plan: "), "the line names the step"
            assert ";" in result.error, "the line ends with a remedy"
            assert not list(archive.out.glob(f"{result.name}*"))
    assert archive.leftovers() == []
    with archive.worker.ledger.read() as session:
        assert verify_run(session, archive.items()[0].run_id) == []


def test_the_command_says_what_failed_and_ends_with_1(archive: Archive):
    good, bad = silent_clip(archive.folder / "good.mp4", seconds=0.4), archive.folder / "bad.mp4"
    bad.write_bytes(b"")
    done = archive.command("dub", good, bad, archive.folder / "missing.mp4", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    outcomes = {Path(item["input"]).name: item["outcome"] for item in answer["items"]}
    assert outcomes == {"good.mp4": "done", "bad.mp4": "failed", "missing.mp4": "failed"}
    complaints = [line for line in done.stderr.splitlines() if ".mp4: " in line]
    assert len(complaints) == 2
    assert any("the file is empty" in line for line in complaints)
    assert any("no such file" in line for line in complaints)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--generator", "nonesuch"], "nonesuch"),
        (["--db", "nonsense"], "--db"),
        (["--store", "ftp://there"], "store"),
        (["--seed", "-1"], "seed"),
    ],
)
def test_bad_settings_are_one_line_and_2(archive: Archive, arguments: list[str], said: str):
    clip = silent_clip(archive.folder / "ball.mp4", seconds=0.4)
    done = archive.command("dub", clip, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.strip().splitlines()
    assert said in line


def test_no_audio_to_take_a_narrator_off_is_a_clear_error(archive: Archive):
    [result] = archive.dub(silent_clip(archive.folder / "ball.mp4"), generator="soundtrack", fallback="rep")
    assert result.outcome is OutcomeKind.FAILED
    assert "foley" in result.error
    [item] = archive.items()
    assert [(attempt.step, attempt.status) for attempt in item.attempts] == [
        ("plan", "done"),
        ("generate", "failed"),
    ]
    assert (item.attempts[-1].error_code, item.attempts[-1].is_retryable) == ("no_audio_stream", False)


@pytest.mark.parametrize(
    "name", ["-rf.mp4", "a%d.mp4", "http:evil.mp4", "line\nbreak.mp4", "'; DROP TABLE run.mp4"]
)
def test_hostile_names_are_data(archive: Archive, name: str):
    [result] = archive.dub(silent_clip(archive.folder / name, seconds=0.4))
    assert result.outcome is OutcomeKind.DONE
    assert result.outputs["video"].path.parent == archive.out
    assert result.outputs["video"].path.is_file()


def test_a_name_that_is_no_text_is_data_too(archive: Archive):
    path = Path(os.fsdecode(os.fsencode(archive.folder) + b"/reel\xff.mp4"))
    silent_clip(archive.folder / "reel.mp4", seconds=0.4).rename(path)
    done = archive.command("dub", path, "--json")
    assert done.returncode == 0, done.stderr
    [item] = json.loads(done.stdout)["items"]
    assert Path(item["outputs"]["video"]).is_file()


def test_results_that_cannot_be_written_are_a_clear_failure(archive: Archive):
    archive.out.write_text("a file where the folder should be", encoding="utf-8")
    [result] = archive.dub(silent_clip(archive.folder / "ball.mp4", seconds=0.4))
    assert result.outcome is OutcomeKind.FAILED
    assert "-o" in result.error
    assert archive.items()[0].attempts[-1].error_code == "output_not_writable"


def test_a_bug_in_a_backend_fails_its_video_and_no_other(archive: Archive):
    """A generator of a third party that breaks on one video, installed as its users would install it."""
    clips = [silent_clip(archive.folder / f"{name}.mp4", seconds=0.4) for name in ("fine", "broken")]
    plugin = install_plugin(archive.folder / "site", "deepsound.generators", "fragile", FRAGILE)
    done = archive.command("dub", *clips, "--generator", "fragile", "--json", **plugin)
    assert done.returncode == 1
    items = {Path(item["input"]).stem: item for item in json.loads(done.stdout)["items"]}
    assert items["fine"]["outcome"] == "done"
    assert "ZeroDivisionError: no frames a second" in items["broken"]["error"]


def test_digital_silence_is_sound_too(archive: Archive):
    clip = write_clip(archive.folder / "silent_track.mp4", seconds=1.0, audio=np.zeros(48_000, np.float32))
    [result] = archive.dub(clip, generator="soundtrack")
    assert (result.outcome, result.loudness) == (OutcomeKind.DONE, None)


def test_a_file_changed_since_it_was_registered_is_not_taken_for_what_it_was(archive: Archive):
    changed, touched, gone = (silent_clip(archive.folder / f"{name}.mp4", seconds=0.4) for name in "abc")
    run_id = archive.register(changed, touched, gone)
    changed.write_bytes(silent_clip(archive.folder / "other.mp4", seconds=0.5).read_bytes())
    touched.touch()
    gone.unlink()
    results = archive.drive(run_id)
    assert [result.outcome for result in results] == [OutcomeKind.FAILED, OutcomeKind.DONE, OutcomeKind.FAILED]
    codes = [item.attempts[-1].error_code for item in archive.items()]
    assert codes == ["source_changed", None, "source_missing"]


@pytest.mark.parametrize("videos_a_shard", [1, 2])
def test_what_goes_wrong_outside_a_step_is_told_and_the_other_videos_are_done(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, videos_a_shard: int
):
    monkeypatch.setattr("flows.run_flow.LOCAL_SHARD_SIZE", videos_a_shard)
    clips = [silent_clip(archive.folder / f"{name}.mp4", seconds=0.4) for name in ("unlucky", "fine")]

    def stumble(event: ProgressEvent) -> None:
        if event.item == "unlucky":
            raise ConnectionError("the engine is gone")

    run_id, said = archive.register(*clips), list[str]()
    with progress_listener(stumble):
        drive_run(archive.worker, archive.place, run_id, said.append)
    assert any("ConnectionError: the engine is gone" in line for line in said)
    ends = {item.output_name: [attempt.outcome for attempt in item.attempts][-1:] for item in archive.items()}
    assert ends == {"unlucky": [], "fine": [OutcomeKind.DONE]}


def test_a_retry_that_fails_again_names_each_video_and_ends_with_1(archive: Archive):
    broken = archive.folder / "broken.mp4"
    text(broken)
    place = ["--db", archive.place.db, "--store", archive.place.store]
    done = CliRunner().invoke(app, ["dub", str(broken), "-o", str(archive.out), *place])
    assert done.exit_code == 1
    assert "every finished step was found in the ledger and reused" not in done.stderr
    [item] = archive.items()
    done = CliRunner().invoke(app, ["run", "retry", item.run_id, *place])
    assert done.exit_code == 1
    assert "broken: plan: " in done.stderr
