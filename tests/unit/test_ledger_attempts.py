"""What is written to a ledger, and what it refuses."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.read.evidence import item_evidence
from db.schema.database import Ledger
from db.schema.records import StepRef
from db.schema.run_records import EventKind, NewItem, NewRun
from db.schema.tables import (
    AttemptRow,
    Base,
    DocumentRow,
    EnvironmentRow,
    ItemRow,
    ReviewRow,
    RunRow,
    SealRow,
    VideoRow,
    WorkRow,
)
from db.state.lease_queue import claim
from db.write.attempts import record_attempt
from db.write.expiry import record_expiry
from db.write.retries import retry_items
from db.write.run_events import record_event
from db.write.runs import register_run
from db.write.worker_sessions import begin_worker_session
from deepsound.errors import DeepSoundError, ErrorCode, InternalError, SourceMissingError, StoreUnreachableError
from deepsound.pipeline import OutcomeKind, Step
from tests.ledger_samples import (
    CODE,
    EXECUTION_CONTEXT,
    GENERATE_STEP,
    JUDGE_STEP,
    NOON,
    OWNER,
    PLAN_STEP,
    REPLY,
    SETTINGS,
    a_run,
    a_video,
    attempt,
    begin,
    bytes_of,
    dub,
    write,
)


def test_a_run_keeps_its_settings_its_list_and_opens_the_first_step_of_every_item(ledger: Ledger) -> None:
    new = a_run("a.mp4", "b.mp4")
    run_id, _ = begin(ledger, new)
    with ledger.read() as session:
        run = session.get_one(RunRow, run_id)
        items = session.scalars(select(ItemRow).order_by(ItemRow.ordinal)).all()
        work = session.execute(select(WorkRow.step, WorkRow.round, WorkRow.state)).all()
    assert (run.name, run.settings, run.settings_sha256) == ("reels", SETTINGS, new.settings_sha256)
    assert run.created_at.utcoffset() == timedelta(0)
    assert [(item.ordinal, item.source, item.video_sha256) for item in items] == [
        (0, "a.mp4", a_video("a.mp4").sha256),
        (1, "b.mp4", a_video("b.mp4").sha256),
    ]
    assert work == [("plan", 1, "pending")] * 2


def test_later_runs_have_later_ids(ledger: Ledger) -> None:
    first, _ = begin(ledger, a_run("a.mp4"))
    time.sleep(0.002)
    second, _ = begin(ledger, a_run("a.mp4"))
    assert first < second


def test_a_source_that_cannot_be_read_is_an_item_all_the_same(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, NewRun("bad", SETTINGS, [NewItem("gone.mp4", "gone")], CODE))
    missing = SourceMissingError("no such file", where="gone.mp4", remedy="check the list")
    write(ledger, attempt(item_id, PLAN_STEP, OutcomeKind.FAILED, step_key=None, failure=missing))
    with ledger.read() as session:
        (item,) = item_evidence(session, [item_id])
        state = session.scalars(select(WorkRow.state)).one()
    (failed,) = item.attempts
    assert item.video is None
    assert (failed.status, failed.outcome, failed.error_code) == ("failed", "failed", "source_missing")
    assert failed.error_message == "gone.mp4: no such file; check the list"
    assert failed.is_retryable is False
    assert state == "failed"


def test_the_same_content_under_two_names_is_one_video(ledger: Ledger) -> None:
    twin = a_video("twin")
    begin(ledger, NewRun("twins", SETTINGS, [NewItem("a.mp4", "a", twin), NewItem("b.mp4", "b", twin)], CODE))
    with ledger.read() as session:
        assert session.scalar(select(func.count()).select_from(VideoRow)) == 1


def test_two_items_never_write_the_same_output(ledger: Ledger) -> None:
    clash = [NewItem("a/x.mp4", "x", a_video("a")), NewItem("b/x.mp4", "x", a_video("b"))]
    with pytest.raises(DeepSoundError, match=r"b/x\.mp4: it would overwrite the results of a/x\.mp4") as caught:
        begin(ledger, NewRun("clash", SETTINGS, clash, CODE))
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    with ledger.read() as session:
        assert session.scalar(select(func.count()).select_from(RunRow)) == 0


def test_thousands_of_items_are_registered_in_seconds(ledger: Ledger) -> None:
    run = a_run(*(f"reel-{number:05}.mp4" for number in range(2_000)))
    started = time.monotonic()
    with ledger.write() as session:
        register_run(session, run)
    assert time.monotonic() - started < 10
    with ledger.read() as session:
        assert session.scalar(select(func.count()).select_from(WorkRow)) == 2_000


def test_an_attempt_is_written_whole(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    dub(ledger, item_id)
    with ledger.read() as session:
        (item,) = item_evidence(session, [item_id])
    judged = next(made for made in item.attempts if made.step == "judge")
    assert judged.raw_output == REPLY
    assert [thought.stage for thought in judged.thoughts] == ["summary", "caption", "reasoning", "conclusion"]
    assert all(REPLY[said.span_start : said.span_end] == said.text for said in judged.thoughts)
    (decision,) = judged.decisions
    assert (decision.key, decision.value, decision.confidence) == ("voice_over", "yes", 0.97)
    assert REPLY[decision.span_start : decision.span_end] == "A"
    assert [used.model.name for used in judged.models] == ["silero-vad"]
    assert (judged.started_at, judged.ended_at) == (NOON, NOON + timedelta(seconds=1.25))
    separated = next(made for made in item.attempts if made.step == "separate")
    assert [effect.decision for effect in separated.effects] == [decision, decision]
    assert separated.effects[0].speech_level_after is None  # digital silence has no level


def test_what_attempts_share_is_stored_once(ledger: Ledger) -> None:
    _, items = begin(ledger, a_run("a.mp4", "b.mp4", "c.mp4"))
    for item_id in items:
        dub(ledger, item_id)
    with ledger.read() as session:
        assert session.scalar(select(func.count()).select_from(EnvironmentRow)) == 1
        # Two prompts, one set of parameters, and each item's list of shown frames.
        assert session.scalar(select(func.count()).select_from(DocumentRow)) == 3 + len(items)


def test_tries_of_a_step_are_counted_and_the_next_step_opens_when_one_succeeds(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    down = StoreUnreachableError("no answer")
    for second in range(2):
        again = attempt(item_id, PLAN_STEP, PLAN_STEP, failure=down, started_at=NOON + timedelta(seconds=second))
        write(ledger, again)
    write(ledger, attempt(item_id, PLAN_STEP, GENERATE_STEP, started_at=NOON + timedelta(seconds=5)))
    with ledger.read() as session:
        tries = session.execute(
            select(AttemptRow.seq, AttemptRow.number, AttemptRow.status).order_by(AttemptRow.seq)
        ).all()
        work = session.execute(select(WorkRow.step, WorkRow.state).order_by(WorkRow.step)).all()
    assert tries == [(1, 1, "failed"), (2, 2, "failed"), (3, 3, "done")]
    assert work == [("generate", "pending"), ("plan", "done")]


def test_an_attempt_says_what_follows_it(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    write(ledger, attempt(item_id, PLAN_STEP, StepRef(Step.GENERATE, 2)))
    write(ledger, attempt(item_id, StepRef(Step.GENERATE, 2), OutcomeKind.NEEDS_REVIEW))
    columns = (AttemptRow.next_step, AttemptRow.next_round, AttemptRow.outcome)
    with ledger.read() as session:
        rows = session.execute(select(*columns).order_by(AttemptRow.seq)).all()
    assert rows == [("generate", 2, None), (None, None, "needs_review")]


def test_only_the_holder_of_the_lease_writes_a_result(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    with ledger.write() as session:
        claim(session, item_id, PLAN_STEP, OWNER, 60)
    with pytest.raises(DeepSoundError, match="no longer held by this worker") as caught, ledger.write() as session:
        record_attempt(session, attempt(item_id, PLAN_STEP, GENERATE_STEP), "worker-2:1:1")
    assert caught.value.code is ErrorCode.LEASE_LOST
    with ledger.read() as session:
        assert session.scalar(select(func.count()).select_from(AttemptRow)) == 0


def test_recording_again_after_a_lost_answer_gives_the_same_attempt(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    record = attempt(item_id, PLAN_STEP, GENERATE_STEP)
    attempt_id = write(ledger, record)
    with ledger.write() as session:
        assert record_attempt(session, record, OWNER) == attempt_id
    with ledger.read() as session:
        assert session.scalar(select(func.count()).select_from(AttemptRow)) == 1


def test_an_artifact_known_before_keeps_its_first_media_type(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    sound = bytes_of("sound")
    write(ledger, attempt(item_id, PLAN_STEP, GENERATE_STEP, outputs={"sound": sound}))
    renamed = replace(sound, media_type="audio/x-wav")
    write(ledger, attempt(item_id, GENERATE_STEP, JUDGE_STEP, inputs={"sound": renamed}))
    with ledger.read() as session:
        (item,) = item_evidence(session, [item_id])
    assert [link.artifact.media_type for made in item.attempts for link in made.artifacts] == ["audio/wav"] * 2


def test_a_failed_attempt_is_no_reused_one() -> None:
    failure = InternalError("broken")
    with pytest.raises(ValueError, match="cannot be a reused one"):
        attempt(1, PLAN_STEP, GENERATE_STEP, failure=failure, reused_attempt_id=1)


def test_a_time_without_a_zone_is_refused(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    with pytest.raises(ValueError, match="has no time zone"):
        write(ledger, attempt(item_id, PLAN_STEP, GENERATE_STEP, ended_at=NOON.replace(tzinfo=None)))


def test_the_database_itself_refuses_to_change_a_row(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    dub(ledger, item_id)
    with ledger.write() as session:
        _fill_the_other_tables(session, run_id, item_id)
    for table in Base.metadata.sorted_tables:
        if table.name == "work":
            continue
        column = table.primary_key.columns[0]
        for change in (update(table).values({column: column}), delete(table)):
            with pytest.raises(DBAPIError, match="append-only"), ledger.write() as session:
                session.execute(change)


def _fill_the_other_tables(session: Session, run_id: str, item_id: int) -> None:
    attempt_id = session.scalars(select(AttemptRow.id).where(AttemptRow.item_id == item_id)).first()
    judged = {"item_id": item_id, "seq": 1, "attempt_id": attempt_id, "verdict": "no", "reason": "a child speaks"}
    session.execute(
        insert(ReviewRow), {**judged, "reviewer": "Kim", "created_at": NOON, "previous_hash": "", "hash": ""}
    )
    sealed = {"run_id": run_id, "items": 1, "merkle_root": "", "algorithm": "", "public_key": "", "signature": ""}
    session.execute(insert(SealRow), {**sealed, "created_at": NOON})
    record_event(session, run_id, EventKind.PAUSED, by="kim@desk")
    retry_items(session, run_id, step=Step.JUDGE, by="kim@desk")
    begin_worker_session(session, run_id, OWNER, EXECUTION_CONTEXT, None)
    record_expiry(session, [bytes_of(f"item {item_id} coarse").sha256], "older than 30 days")


def test_rows_are_not_replaced_or_truncated_past_the_triggers(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    dub(ledger, item_id)
    with ledger.read() as session:
        dialect = session.get_bind().dialect.name
    by_the_back_door = {
        "sqlite": "INSERT OR REPLACE INTO document SELECT sha256, 'changed' FROM document",
        "postgresql": "TRUNCATE document CASCADE",
    }
    with pytest.raises(DBAPIError, match="append-only"), ledger.write() as session:
        session.execute(text(by_the_back_door[dialect]))
