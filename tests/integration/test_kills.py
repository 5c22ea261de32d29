"""Killed anywhere, a run loses nothing: books consistent, no step done twice, and the rerun goes on from there."""

import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from db.integrity.verify import verify_run
from db.read.items import run_ids
from deepsound.canonical_json import sha256_file
from deepsound.pipeline import OutcomeKind
from tests.archive_setup import Archive
from tests.voiced_clips import narrated_clip, silent_clip

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

KILLS = 20


def check_books(archive: Archive) -> None:
    """Every row as written, every artifact of the ledger in the store, nothing half-written under a final name."""
    with archive.worker.ledger.read() as session:
        for run_id in run_ids(session):
            assert verify_run(session, run_id) == []
    for item in archive.items():
        done_once = Counter((each.step, each.round) for each in item.attempts if each.status == "done")
        assert max(done_once.values(), default=0) <= 1, f"a step of {item.output_name} was done twice"
        for attempt in item.attempts:
            assert attempt.status in ("done", "reused"), attempt.error_message
            for link in attempt.artifacts:
                with archive.worker.store.local(link.artifact_sha256) as kept:
                    assert sha256_file(kept) == link.artifact_sha256


def killed_at_random(archive: Archive, inputs: Path, chance: random.Random) -> bool:
    """Run the command and kill it, at a step boundary or at any moment; whether it died of that."""
    if chance.random() < 0.7:
        boundary = f"*@{chance.randint(1, 12)}"
        return archive.command("dub", inputs, "--generator", "soundtrack", DEEPSOUND_FAULT=boundary).returncode < 0
    process = archive.start("dub", inputs, "--generator", "soundtrack")
    try:
        process.wait(timeout=chance.uniform(2.0, 8.0))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return process.returncode < 0


@pytest.mark.faults
def test_after_twenty_kills_at_random_points_every_video_is_done_and_no_step_was_done_twice(archive: Archive):
    inputs = archive.folder / "reels"
    inputs.mkdir()
    chance = random.Random(20)
    kills = reels = completed = 0
    while kills < KILLS:
        if completed == reels:
            reels += 1
            narrated_clip(inputs / f"reel-{reels}.mp4", snr_db=3.0 + reels, seconds=2.5)
        if killed_at_random(archive, inputs, chance):
            kills += 1
        else:
            completed = reels
        check_books(archive)
    finished = archive.command("dub", inputs, "--generator", "soundtrack")
    assert finished.returncode == 0, finished.stderr
    check_books(archive)
    with archive.worker.ledger.read() as session:
        assert len(run_ids(session)) <= 2 * reels, "a killed run is gone on with, not begun anew"
    ends = {item.output_name: item.attempts[-1].outcome for item in archive.items() if item.attempts}
    assert ends == {f"reel-{number}": OutcomeKind.DONE for number in range(1, reels + 1)}
    assert all((archive.out / f"{name}.mp4").is_file() for name in ends)


@pytest.mark.parametrize("point", ["judge.begun", "judge.executed", "judge.recorded", "publish.delivered"])
def test_the_rerun_goes_on_from_the_last_finished_step(archive: Archive, point: str):
    clip = silent_clip(archive.folder / "ball.mp4")
    assert archive.command("dub", clip, DEEPSOUND_FAULT=point).returncode == -signal.SIGKILL
    check_books(archive)
    [item] = archive.items()
    finished = len(item.attempts)
    assert finished == {"judge.begun": 2, "judge.executed": 2, "judge.recorded": 3, "publish.delivered": 3}[point]
    assert archive.command("dub", clip).returncode == 0
    [item] = archive.items()
    assert [attempt.step for attempt in item.attempts] == ["plan", "generate", "judge", "publish"]
    assert {attempt.status for attempt in item.attempts} == {"done"}
    check_books(archive)
