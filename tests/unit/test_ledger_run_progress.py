"""Where runs stand, as tables show it."""

import time
from datetime import UTC, datetime, timedelta

from db.read.run_progress import OpenItem, open_items, recently_active_runs, run_list, run_progress
from db.read.run_state import RunState
from db.schema.database import Ledger
from db.schema.records import WorkState
from db.schema.run_records import EventKind
from db.state.lease_queue import claim
from db.write.attempts import record_attempt
from db.write.retries import retry_items
from db.write.run_events import record_event
from deepsound.errors import QuarantinedError, StoreUnreachableError
from deepsound.pipeline import OutcomeKind, Step
from tests.ledger_samples import OWNER, PLAN_STEP, PUBLISH_STEP, a_run, attempt, begin, dub, write

DOWN = StoreUnreachableError("no answer")
POISON = QuarantinedError("killed its worker twice")


def test_progress_counts_every_video_once_and_every_step_where_it_is(ledger: Ledger) -> None:
    sources = [f"{name}.mp4" for name in ("done", "failed", "poison", "waiting", "again", "held", "vanished")]
    run_id, (done, failed, poison, _, again, held, vanished) = begin(ledger, a_run(*sources))
    begin(ledger, a_run("of another run.mp4"))
    dub(ledger, done)
    now = datetime.now(UTC)
    write(ledger, attempt(failed, PLAN_STEP, OutcomeKind.FAILED, failure=DOWN, started_at=now, ended_at=now))
    write(ledger, attempt(poison, PLAN_STEP, OutcomeKind.FAILED, failure=POISON))
    write(ledger, attempt(again, PLAN_STEP, PLAN_STEP, failure=DOWN))
    with ledger.write() as session:
        claim(session, held, PLAN_STEP, OWNER, 60)
        claim(session, vanished, PLAN_STEP, OWNER, 0.01)
    time.sleep(0.05)
    with ledger.read() as session:
        progress = run_progress(session, run_id)
        assert run_progress(session, "nonesuch") is None
        left = [item for item in open_items(session, run_id) if item.deaths]
    assert progress is not None
    assert (progress.name, progress.items, progress.open_items) == ("reels", 7, 4)
    assert progress.outcomes == {OutcomeKind.DONE: 1, OutcomeKind.FAILED: 2}
    assert progress.errors == {"store_unreachable": 1, "quarantined": 1}
    assert progress.quarantined == 1
    assert progress.ended_recently == 1, "the others ended at noon of another day"
    plan = {state: count for (step, state), count in progress.steps.items() if step is Step.PLAN}
    assert plan == {WorkState.DONE: 1, WorkState.FAILED: 2, WorkState.PENDING: 3, WorkState.RUNNING: 1}
    assert left == [OpenItem(vanished, 1)]


def test_what_was_taken_back_counts_no_longer(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    dub(ledger, item_id)
    with ledger.write() as session:
        retry_items(session, run_id, step=Step.PUBLISH, by="kim@desk")
    with ledger.read() as session:
        progress = run_progress(session, run_id)
    assert progress is not None
    assert (progress.open_items, progress.outcomes) == (1, {})
    assert progress.steps[Step(PUBLISH_STEP.step), WorkState.PENDING] == 1
    with ledger.write() as session:
        assert claim(session, item_id, PUBLISH_STEP, OWNER, 60, retries=1)
        record_attempt(session, attempt(item_id, PUBLISH_STEP, OutcomeKind.FAILED, failure=DOWN), OWNER)
    with ledger.read() as session:
        progress = run_progress(session, run_id)
    assert progress is not None
    assert (progress.open_items, progress.outcomes) == (0, {OutcomeKind.FAILED: 1}), "it ended once, with the last"


def test_runs_are_listed_newest_first_with_what_became_of_their_videos(ledger: Ledger) -> None:
    older, (item_id, _) = begin(ledger, a_run("a.mp4", "b.mp4"))
    time.sleep(0.002)
    newer, _ = begin(ledger, a_run("c.mp4"))
    dub(ledger, item_id)
    with ledger.write() as session:
        record_event(session, older, EventKind.PAUSED, by="kim@desk")
    with ledger.read() as session:
        first, second = run_list(session)
        assert [line.run_id for line in run_list(session, newest=1)] == [newer]
    assert (first.run_id, first.state, first.items, first.open_items) == (newer, RunState.ACTIVE, 1, 1)
    assert (second.run_id, second.state, second.items, second.open_items) == (older, RunState.PAUSED, 2, 1)
    assert second.outcomes == {OutcomeKind.DONE: 1}
    assert second.registered_at > datetime.now(UTC) - timedelta(minutes=10)


def test_runs_of_late_are_those_at_work_or_open_however_long_ago_they_were_registered(ledger: Ledger) -> None:
    open_run, _ = begin(ledger, a_run("open.mp4"))
    ended, [item] = begin(ledger, a_run("ended.mp4"))
    dub(ledger, item)
    with ledger.read() as session:
        assert recently_active_runs(session, datetime(2000, 1, 1, tzinfo=UTC)) == [open_run, ended]
        assert recently_active_runs(session, datetime(2100, 1, 1, tzinfo=UTC)) == [open_run]
