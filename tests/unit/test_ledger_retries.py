"""Steps taken back: what is done again, what stands, and that nobody goes on from what no longer does."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from db.integrity.verify import verify_run
from db.read.evidence import item_evidence
from db.read.items import item_summaries
from db.read.queries import item_history, item_retries, unfinished_steps
from db.read.run_progress import open_items
from db.read.run_state import run_events
from db.schema.database import Ledger
from db.schema.records import FIRST_STEP, ItemRetries, StepRef, WorkState
from db.schema.run_records import EventKind
from db.schema.tables import AttemptRow, WorkRow
from db.state.attempt_history import replay_rows
from db.state.lease_queue import claim, rebuild_work
from db.write.attempts import record_attempt
from db.write.retries import RetryRequest, retry_items, retry_steps
from deepsound.errors import DeepSoundError, ErrorCode, QuarantinedError, SourceCorruptError, StoreUnreachableError
from deepsound.pipeline import OutcomeKind, Step
from tests.ledger_samples import (
    CHECK_STEP,
    GENERATE_STEP,
    JUDGE_STEP,
    OWNER,
    PLAN_STEP,
    PUBLISH_STEP,
    SEPARATE_STEP,
    a_run,
    attempt,
    begin,
    dub,
    write,
)
from tests.postgres import NewLedger

OTHER = "worker-2:4711:1"
KIM = "kim@desk"
DOWN = StoreUnreachableError("no answer")
CORRUPT = SourceCorruptError("it ends in the middle")


def retry(ledger: Ledger, run_id: str, **asked: object) -> list[int]:
    with ledger.write() as session:
        return retry_items(session, run_id, by=KIM, **asked)


def work(ledger: Ledger, item_id: int) -> dict[StepRef, WorkState]:
    with ledger.read() as session:
        rows = session.scalars(select(WorkRow).where(WorkRow.item_id == item_id))
        return {StepRef(Step(row.step), row.round): WorkState(row.state) for row in rows}


def standing(ledger: Ledger, item_id: int) -> list[StepRef]:
    with ledger.read() as session:
        return [finished.at for finished in item_history(session, item_id)]


def test_what_failed_is_tried_again_and_what_was_done_before_it_stands(ledger: Ledger) -> None:
    run_id, (done, corrupt, down, waiting) = begin(ledger, a_run("a.mp4", "b.mp4", "c.mp4", "d.mp4"))
    dub(ledger, done)
    for item_id, failure in ((corrupt, CORRUPT), (down, DOWN)):
        write(ledger, attempt(item_id, PLAN_STEP, GENERATE_STEP))
        write(ledger, attempt(item_id, GENERATE_STEP, OutcomeKind.FAILED, failure=failure))
    assert retry(ledger, run_id) == [corrupt, down]
    for item_id in (corrupt, down):
        assert standing(ledger, item_id) == [PLAN_STEP]
        assert work(ledger, item_id) == {PLAN_STEP: WorkState.DONE, GENERATE_STEP: WorkState.PENDING}
    with ledger.read() as session:
        assert [item.id for item in open_items(session, run_id)] == [corrupt, down, waiting]
        assert [end.outcome for end in item_summaries(session, run_id)] == [OutcomeKind.DONE, None, None, None]
        [noted] = run_events(session, run_id)
        assert verify_run(session, run_id) == []
    assert (noted.kind, noted.by, noted.details["items"]) == (EventKind.RETRIED, KIM, 2)
    assert retry(ledger, run_id) == [], "nothing failed any more"


def test_a_retry_may_be_for_one_error_or_for_some_videos(ledger: Ledger) -> None:
    sources = ("box-1/reel-1.mp4", "box-1/reel-2.mp4", "box-2/reel-1.mp4")
    run_id, (first, second, third) = begin(ledger, a_run(*sources))
    for item_id, failure in ((first, CORRUPT), (second, DOWN), (third, CORRUPT)):
        write(ledger, attempt(item_id, PLAN_STEP, OutcomeKind.FAILED, failure=failure))
    assert retry(ledger, run_id, error=ErrorCode.DISK_FULL) == []
    assert retry(ledger, run_id, error=ErrorCode.SOURCE_CORRUPT, pattern="box-2/*") == [third]
    assert retry(ledger, run_id, pattern="reel-2.mp4") == [second]
    assert retry(ledger, run_id, error=ErrorCode.SOURCE_CORRUPT) == [first]


def test_a_step_asked_for_is_done_anew_with_all_that_follows_it_in_its_first_round(ledger: Ledger) -> None:
    run_id, (done, untouched) = begin(ledger, a_run("a.mp4", "b.mp4"))
    second_round = StepRef(Step.JUDGE, 2)
    for at, then in (
        (PLAN_STEP, JUDGE_STEP),
        (JUDGE_STEP, second_round),
        (second_round, PUBLISH_STEP),
        (PUBLISH_STEP, OutcomeKind.NEEDS_REVIEW),
    ):
        write(ledger, attempt(done, at, then))
    assert retry(ledger, run_id, step=Step.JUDGE, reason="a better reasoner") == [done]
    assert standing(ledger, done) == [PLAN_STEP]
    assert work(ledger, done) == {PLAN_STEP: WorkState.DONE, JUDGE_STEP: WorkState.PENDING}
    with ledger.read() as session:
        assert item_retries(session, [done, untouched]) == {done: ItemRetries(1, frozenset({JUDGE_STEP}))}
    write_again = attempt(done, JUDGE_STEP, PUBLISH_STEP, result={"verdict": "no"})
    with ledger.write() as session:
        assert claim(session, done, JUDGE_STEP, OWNER, 60, retries=1)
        record_attempt(session, write_again, OWNER)
    with ledger.read() as session:
        assert item_retries(session, [done]) == {done: ItemRetries(1, frozenset())}, "it has been done again"
        assert [finished.at for finished in item_history(session, done)] == [PLAN_STEP, JUDGE_STEP]
        assert item_history(session, done)[-1].result == {"verdict": "no"}
        assert session.scalars(
            select(AttemptRow.number).where(AttemptRow.step == "judge").order_by(AttemptRow.id)
        ).all() == [
            1,
            1,
            2,
        ]
        assert verify_run(session, run_id) == []


def test_a_step_that_failed_when_it_was_to_be_done_anew_is_still_to_be_done_anew(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    dub(ledger, item_id)
    retry(ledger, run_id, step=Step.PUBLISH)
    with ledger.write() as session:
        assert claim(session, item_id, PUBLISH_STEP, OWNER, 60, retries=1)
        record_attempt(session, attempt(item_id, PUBLISH_STEP, OutcomeKind.FAILED, failure=DOWN), OWNER)
    retry(ledger, run_id)
    with ledger.read() as session:
        assert item_retries(session, [item_id]) == {item_id: ItemRetries(2, frozenset({PUBLISH_STEP}))}


def test_what_a_worker_is_at_is_left_to_it_and_what_nobody_holds_is_not(ledger: Ledger) -> None:
    run_id, (held, lapsed, waiting) = begin(ledger, a_run("a.mp4", "b.mp4", "c.mp4"))
    for item_id in (held, lapsed, waiting):
        write(ledger, attempt(item_id, PLAN_STEP, GENERATE_STEP))
    with ledger.write() as session:
        claim(session, held, GENERATE_STEP, OWNER, 60)
        claim(session, lapsed, GENERATE_STEP, OWNER, 0.01)
    time.sleep(0.05)
    assert retry(ledger, run_id, step=Step.PLAN) == [lapsed, waiting]
    late = attempt(lapsed, GENERATE_STEP, JUDGE_STEP)
    with pytest.raises(DeepSoundError, match="no longer held") as caught, ledger.write() as session:
        record_attempt(session, late, OWNER)
    assert caught.value.code is ErrorCode.LEASE_LOST
    with ledger.read() as session:
        assert verify_run(session, run_id) == []


def test_who_does_not_know_that_a_step_was_taken_back_can_take_none(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    dub(ledger, item_id)
    retry(ledger, run_id, step=Step.JUDGE)
    with ledger.write() as session:
        assert claim(session, item_id, JUDGE_STEP, OTHER, 60) is None
        assert claim(session, item_id, PUBLISH_STEP, OTHER, 60, retries=1) is None
        assert claim(session, item_id, JUDGE_STEP, OTHER, 60, retries=1) is not None


def test_deaths_are_forgotten_with_a_reopening(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    for owner in (OWNER, OTHER):
        with ledger.write() as session:
            claim(session, item_id, PLAN_STEP, owner, 0.01)
        time.sleep(0.05)
    with ledger.write() as session:
        lease = claim(session, item_id, PLAN_STEP, "worker-3:1:1", 60)
        assert lease is not None
        assert lease.deaths == 2
        poison = QuarantinedError("killed its worker twice")
        record_attempt(session, attempt(item_id, PLAN_STEP, OutcomeKind.FAILED, failure=poison), "worker-3:1:1")
    assert retry(ledger, run_id, error=ErrorCode.QUARANTINED) == [item_id]
    with ledger.read() as session:
        assert [item.deaths for item in open_items(session, run_id)] == [0]


def test_an_auditor_sees_what_was_taken_back_by_whom_and_why(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    dub(ledger, item_id)
    retry(ledger, run_id, step=Step.JUDGE, reason="a child speaks")
    with ledger.read() as session:
        (item,) = item_evidence(session, [item_id])
    [back] = item.retries
    assert (back.after, back.step, back.recompute, back.by, back.reason) == (
        6,
        "judge",
        True,
        KIM,
        "a child speaks",
    )
    assert back.previous_hash == item.attempts[-1].hash


CHAIN = (
    *(PLAN_STEP, GENERATE_STEP, JUDGE_STEP, SEPARATE_STEP, CHECK_STEP, StepRef(Step.FALL_BACK)),
    *(StepRef(Step.GENERATE, 2), StepRef(Step.JUDGE, 2), PUBLISH_STEP),
)


class Model:
    """What an item looks like to somebody who only remembers which attempts stand."""

    def __init__(self) -> None:
        self.stands: list[tuple[StepRef, WorkState]] = []
        self.open: StepRef | None = FIRST_STEP
        self.retries = 0

    def work(self) -> dict[StepRef, WorkState]:
        return dict(self.stands) | ({self.open: WorkState.PENDING} if self.open else {})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, new_ledger: NewLedger) -> Iterator[Ledger]:
    with new_ledger(request.param) as ledger:
        yield ledger


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["done", "done", "done", "end", "fail", "fail, again", "retry"]), st.integers(0, 9)
        )
    )
)
def test_the_to_do_list_is_what_the_chain_says_whatever_is_done_and_taken_back(
    shared: Ledger, moves: list[tuple[str, int]]
) -> None:
    run_id, (item_id,) = begin(shared, a_run("a.mp4"))
    model = Model()
    with shared.write() as session:
        for move, number in moves:
            if move == "retry" and model.stands:
                at = model.stands[number % len(model.stands)][0]
                retry_steps(session, {item_id: at}, RetryRequest(KIM, None, recompute=number % 2 == 0))
                first = [step for step, _ in model.stands].index(at)
                model.stands, model.open, model.retries = model.stands[:first], at, model.retries + 1
            elif move != "retry" and model.open:
                at = model.open
                follows = {
                    "done": CHAIN[min(CHAIN.index(at) + 1 + number % 2, len(CHAIN) - 1)],
                    "fail, again": at,
                    "fail": OutcomeKind.FAILED,
                    "end": OutcomeKind.DONE,
                }[move if at != PUBLISH_STEP or move != "done" else "end"]
                failure = DOWN if move.startswith("fail") else None
                assert claim(session, item_id, at, OWNER, 60, retries=model.retries)
                record_attempt(session, attempt(item_id, at, follows, failure=failure), OWNER)
                model.stands.append((at, WorkState.FAILED if failure else WorkState.DONE))
                model.open = follows if isinstance(follows, StepRef) else None
    assert work(shared, item_id) == model.work()
    with shared.read() as session:
        (item,) = item_evidence(session, [item_id])
        assert replay_rows(item.attempts, item.retries).states == model.work()
        assert [each.at for each in item_history(session, item_id)] == [
            at for at, state in model.stands if state is WorkState.DONE
        ]
        assert {step.at for step in unfinished_steps(session, run_id)} == ({model.open} if model.open else set())
        assert verify_run(session, run_id) == []
    with shared.write() as session:
        rebuild_work(session, run_id)
    assert work(shared, item_id) == model.work()
