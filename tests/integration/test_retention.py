"""What retention deletes, and what it never does."""

from datetime import timedelta
from pathlib import Path

import pytest

from db.write.retries import retry_items
from db.write.reviews import NewReview
from deepsound.atomic_write import replacing
from deepsound.cot import Verdict
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.pipeline import Step
from tasks.operations.item_review import review_item
from tasks.operations.retention import Swept, prune, sweep_orphans, sweep_unfinished
from tasks.operations.run_audit import verify_books
from tasks.runtime.heartbeat import worker_session
from tasks.runtime.item import PLAN
from tasks.steps.runner import reuse_step
from tests.archive_setup import Archive
from tests.voiced_clips import silent_clip

pytestmark = pytest.mark.integration

AT_ONCE = timedelta(0)


def outputs(archive: Archive, run: str, *, results: bool) -> set[str]:
    """SHA-256 of what a run made: its results, or all else."""
    return {
        link.artifact_sha256
        for item in archive.items()
        if item.run_id == run
        for attempt in item.attempts
        if (attempt.step == "publish") is results
        for link in attempt.artifacts
        if link.direction == "output"
    }


def test_intermediates_go_results_stay_and_the_audit_knows(archive: Archive):
    run = archive.register(silent_clip(archive.folder / "ball.mp4", seconds=0.5))
    archive.drive(run)
    store, intermediates = archive.worker.store, outputs(archive, run, results=False)
    assert intermediates
    assert all(map(store.has, intermediates))
    assert prune(archive.worker, timedelta(days=1)).intermediates == 0, "younger than that"
    assert prune(archive.worker, AT_ONCE).intermediates == len(intermediates)
    assert not any(map(store.has, intermediates))
    assert all(map(store.has, outputs(archive, run, results=True)))
    books = verify_books(archive.worker, run)
    assert not books.findings
    assert books.expired == len(intermediates)
    assert prune(archive.worker, AT_ONCE).intermediates == 0


def test_what_an_unfinished_run_shares_stays_until_it_has_ended(archive: Archive):
    clip = silent_clip(archive.folder / "ball.mp4", seconds=0.5)
    first = archive.register(clip)
    archive.drive(first)
    other = archive.register(clip, prompt="rain")
    [item] = archive.unfinished(other)
    planned = reuse_step(archive.worker, item, item.next_action())
    assert planned, "the plan does not depend on the prompt"
    observations = planned.artifact(PLAN, "observations").sha256
    prune(archive.worker, AT_ONCE)
    assert archive.worker.store.has(observations)
    archive.drive(other)
    prune(archive.worker, AT_ONCE)
    assert not archive.worker.store.has(observations)


def test_a_deleted_step_is_done_again_when_it_is_needed(archive: Archive):
    clip = silent_clip(archive.folder / "ball.mp4", seconds=0.5)
    archive.drive(archive.register(clip))
    prune(archive.worker, AT_ONCE)
    [result] = archive.drive(archive.register(clip, prompt="rain"))
    assert result.error is None
    plan = next(step for step in result.steps if step.step == "plan")
    assert not plan.is_reused


def test_copies_of_sources_go_once_their_runs_have_ended(archive: Archive):
    clip: Path = silent_clip(archive.folder / "ball.mp4", seconds=0.5)
    run = archive.register(clip)
    kept = archive.worker.store.put(clip, "video/mp4")
    assert prune(archive.worker, AT_ONCE).sources == 0, "the run is open"
    archive.drive(run)
    assert prune(archive.worker, AT_ONCE).sources == 1
    assert not archive.worker.store.has(kept.sha256)
    assert clip.exists()


def an_orphan(archive: Archive) -> str:
    """As a worker leaves it that was killed after it stored a result, before it wrote that down."""
    file = archive.folder / "sound.wav"
    file.write_bytes(b"a sound that nobody knows of")
    return archive.worker.store.put(file, "audio/wav").sha256


def test_orphans_go_and_all_that_the_ledger_knows_stays(archive: Archive):
    run = archive.register(silent_clip(archive.folder / "ball.mp4", seconds=0.5))
    archive.drive(run)
    orphan = an_orphan(archive)
    assert sweep_orphans(archive.worker, timedelta(hours=1)) == 0, "younger than that"
    with worker_session(archive.worker, run), pytest.raises(DeepSoundError, match="workers are at work"):
        sweep_orphans(archive.worker, AT_ONCE)
    assert archive.worker.store.has(orphan)
    assert sweep_orphans(archive.worker, AT_ONCE) == 1
    assert not archive.worker.store.has(orphan)
    assert not verify_books(archive.worker, run).findings


def test_what_killed_workers_left_half_written_among_the_results_goes_and_the_results_stay(archive: Archive):
    run = archive.register(silent_clip(archive.folder / "ball.mp4", seconds=0.5))
    archive.drive(run)
    results = sorted(archive.out.rglob("*"))
    killed = replacing(archive.out / "ball.wav")
    half = killed.__enter__()
    assert sweep_unfinished(archive.worker).results == 0, "it may still be written"
    assert half.exists()
    assert sweep_unfinished(archive.worker, AT_ONCE) == Swept(store=0, results=1)
    assert sorted(archive.out.rglob("*")) == results


def test_a_ledger_that_is_not_the_stores_deletes_nothing(archive: Archive):
    orphan = an_orphan(archive)
    with pytest.raises(DeepSoundError, match="nothing is known of what lies in"):
        sweep_orphans(archive.worker, AT_ONCE)
    assert archive.worker.store.has(orphan)


def test_a_review_after_retention_says_what_is_gone_and_holds_once_that_was_made_again(quiet_archive: Archive):
    archive = quiet_archive
    run = archive.register(silent_clip(archive.folder / "ball.mp4", seconds=0.5))
    [before] = archive.work_through(run)
    prune(archive.worker, AT_ONCE)
    review = NewReview("kim@desk", Verdict.YES, "a man speaks")
    with pytest.raises(DeepSoundError, match="its observations and coarse were deleted") as caught:
        review_item(archive.worker, before.item, review)
    assert caught.value.code is ErrorCode.ARTIFACT_MISSING
    [item] = archive.items()
    assert (item.reviews, item.retries) == ([], []), "nothing was written"

    with archive.worker.ledger.write() as session:
        retry_items(session, run, step=Step.PLAN, error=None, pattern=None, by="kim@desk", reason="to be reviewed")
    archive.work_through(run)
    review_item(archive.worker, before.item, review)
    [after] = archive.work_through(run)
    assert after.error is None
    assert (before.verdict, after.verdict) == ("no", "yes")
    assert not verify_books(archive.worker, run).findings
