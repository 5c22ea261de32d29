"""A person's reviews: what they take back, how long they hold, and that nobody slips one in or takes one out."""

from collections.abc import Iterator

import pytest

from db.integrity.findings import Problem
from db.integrity.verify import verify_item, verify_run
from db.read.items import item_summaries
from db.read.queries import item_history
from db.read.review_state import Review, current_reviews, find_judgement, items_to_review
from db.read.run_progress import open_items
from db.read.run_state import lock_run
from db.schema.database import Ledger
from db.schema.records import StepRef
from db.state.lease_queue import claim
from db.write.attempts import record_attempt
from db.write.retries import retry_items
from db.write.reviews import NewReview, record_review
from deepsound.cot import Verdict
from deepsound.errors import DeepSoundError, SourceCorruptError
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
from tests.unit.test_ledger_verify import tampered

KIM = "kim@desk"
WHY = "the coarse audio is kept"


def leave_undecided(ledger: Ledger, item_id: int) -> None:
    """An item whose judge could not tell."""
    write(ledger, attempt(item_id, PLAN_STEP, GENERATE_STEP))
    write(ledger, attempt(item_id, GENERATE_STEP, JUDGE_STEP))
    write(ledger, attempt(item_id, JUDGE_STEP, PUBLISH_STEP, result={"verdict": "undecided"}))
    write(ledger, attempt(item_id, PUBLISH_STEP, OutcomeKind.NEEDS_REVIEW, result={"why": WHY}))


def rule(ledger: Ledger, item_id: int, verdict: Verdict, then: StepRef) -> int:
    with ledger.write() as session:
        found = find_judgement(session, item_id)
        return record_review(session, found, NewReview(KIM, verdict, "a man speaks, unseen"), then)


def holding(ledger: Ledger, item_id: int) -> dict[StepRef, Review]:
    with ledger.read() as session:
        return current_reviews(session, [item_id]).get(item_id, {})


def go_on(ledger: Ledger, item_id: int, *records: object, retries: int) -> None:
    for record in records:
        with ledger.write() as session:
            assert claim(session, item_id, record.at, OWNER, 60, retries=retries)
            record_attempt(session, record, OWNER)


def standing(ledger: Ledger, item_id: int) -> list[StepRef]:
    with ledger.read() as session:
        return [finished.at for finished in item_history(session, item_id)]


def test_a_review_opens_what_follows_from_it_and_the_judgement_stands(ledger: Ledger) -> None:
    run_id, (item_id, other) = begin(ledger, a_run("a.mp4", "b.mp4"))
    for each in (item_id, other):
        leave_undecided(ledger, each)
    with ledger.read() as session:
        assert [(each.item_id, each.why) for each in items_to_review(session)] == [(item_id, WHY), (other, WHY)]
    assert rule(ledger, item_id, Verdict.YES, SEPARATE_STEP) == 1
    assert standing(ledger, item_id) == [PLAN_STEP, GENERATE_STEP, JUDGE_STEP]
    review = holding(ledger, item_id)[JUDGE_STEP]
    assert (review.seq, review.by, review.verdict, review.reason) == (1, KIM, "yes", "a man speaks, unseen")
    with ledger.read() as session:
        assert [item.id for item in open_items(session, run_id)] == [item_id]
        assert [each.item_id for each in items_to_review(session)] == [other]
        assert verify_run(session, run_id) == []
        times = 2
        assert not claim(session, item_id, PUBLISH_STEP, OWNER, 60, retries=times), "it was taken back"
        assert claim(session, item_id, SEPARATE_STEP, OWNER, 60, retries=times)


def test_a_later_review_overrides_an_earlier_one_and_both_stay_in_the_books(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    leave_undecided(ledger, item_id)
    rule(ledger, item_id, Verdict.YES, SEPARATE_STEP)
    named = {"why": "the voice was removed", "review": {"seq": 1}}
    go_on(
        ledger,
        item_id,
        attempt(item_id, SEPARATE_STEP, CHECK_STEP),
        attempt(item_id, CHECK_STEP, PUBLISH_STEP),
        attempt(item_id, PUBLISH_STEP, OutcomeKind.DONE, result=named),
        retries=2,
    )
    assert rule(ledger, item_id, Verdict.NO, PUBLISH_STEP) == 2
    assert holding(ledger, item_id)[JUDGE_STEP].verdict is Verdict.NO
    assert standing(ledger, item_id) == [PLAN_STEP, GENERATE_STEP, JUDGE_STEP]
    result = {"why": "no voice-over", "review": {"seq": 2}}
    go_on(ledger, item_id, attempt(item_id, PUBLISH_STEP, OutcomeKind.DONE, result=result), retries=4)
    with ledger.read() as session:
        assert [end.outcome for end in item_summaries(session, run_id)] == [OutcomeKind.DONE]
        assert verify_run(session, run_id) == []


def test_a_ruling_ends_with_the_judgement_it_is_of(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    leave_undecided(ledger, item_id)
    rule(ledger, item_id, Verdict.NO, PUBLISH_STEP)
    go_on(ledger, item_id, attempt(item_id, PUBLISH_STEP, OutcomeKind.DONE), retries=1)
    with ledger.write() as session:
        retry_items(session, run_id, step=Step.JUDGE, by=KIM)
    assert holding(ledger, item_id) == {}


def test_of_two_rounds_the_last_judgement_is_reviewed_and_what_was_ruled_of_the_first_holds(
    ledger: Ledger,
) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    leave_undecided(ledger, item_id)
    rule(ledger, item_id, Verdict.YES, SEPARATE_STEP)
    again = StepRef(Step.JUDGE, 2)
    go_on(
        ledger,
        item_id,
        attempt(item_id, SEPARATE_STEP, again),
        attempt(item_id, again, StepRef(Step.PUBLISH, 2)),
        attempt(item_id, StepRef(Step.PUBLISH, 2), OutcomeKind.NEEDS_REVIEW, result={"why": WHY}),
        retries=2,
    )
    rule(ledger, item_id, Verdict.NO, StepRef(Step.PUBLISH, 2))
    said = {at: review.verdict for at, review in holding(ledger, item_id).items()}
    assert said == {JUDGE_STEP: Verdict.YES, again: Verdict.NO}


def test_what_is_open_or_was_never_judged_cannot_be_reviewed(ledger: Ledger) -> None:
    _, (is_open, failed) = begin(ledger, a_run("a.mp4", "b.mp4"))
    corrupt = SourceCorruptError("it ends in the middle")
    write(ledger, attempt(failed, PLAN_STEP, OutcomeKind.FAILED, failure=corrupt))
    for item_id, what in ((is_open, "it has not ended"), (failed, "before anything was judged.*--plan constant")):
        with pytest.raises(DeepSoundError, match=what), ledger.write() as session:
            find_judgement(session, item_id)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def reviewed(request: pytest.FixtureRequest, new_ledger: NewLedger) -> Iterator[Ledger]:
    """Items 1 and 2, dubbed; item 2 was then reviewed twice, and published once more each time."""
    with new_ledger(request.param) as ledger:
        _, items = begin(ledger, a_run("a.mp4", "b.mp4"))
        for item_id in items:
            dub(ledger, item_id)
        for times in (2, 3):
            seq = rule(ledger, 2, Verdict.NO, PUBLISH_STEP)
            result = {"why": "no voice-over", "review": {"seq": seq}}
            go_on(ledger, 2, attempt(2, PUBLISH_STEP, OutcomeKind.DONE, result=result), retries=times)
        yield ledger


def test_reviewed_items_verify(reviewed: Ledger) -> None:
    with reviewed.read() as session:
        assert verify_item(session, 1) == verify_item(session, 2) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE review SET verdict = 'yes' WHERE seq = 1", ("review 1", Problem.CHANGED)),
        ("UPDATE review SET reviewer = 'lee@desk' WHERE seq = 2", ("review 2", Problem.CHANGED)),
        ("UPDATE review SET attempt_id = 1 WHERE seq = 2", ("review 2", Problem.CHANGED)),
        ("UPDATE review SET hash = previous_hash WHERE seq = 2", ("review 2", Problem.CHANGED)),
        ("DELETE FROM review WHERE seq = 1", ("review 1", Problem.MISSING)),
        ("DELETE FROM review WHERE seq = 2", ("review 2", Problem.MISSING)),
        ("DELETE FROM review WHERE seq = 2", ("retry 3 (publish, round 1)", Problem.CHANGED)),
        ("DELETE FROM retry WHERE seq = 3", ("review 2", Problem.ADDED)),
        ("UPDATE review SET item_id = 1, seq = 1 WHERE seq = 2", ("review 2", Problem.MISSING)),
    ],
)
def test_whoever_meddles_with_a_review_is_found_out(
    reviewed: Ledger, change: str, found: tuple[str, Problem]
) -> None:
    with tampered(reviewed, change) as session:
        assert found in [(finding.row, finding.problem) for finding in verify_item(session, 2)]


def test_a_review_that_nobody_gave_is_found_in_the_item_it_was_slipped_into(reviewed: Ledger) -> None:
    with tampered(reviewed, "UPDATE review SET item_id = 1, seq = 1 WHERE seq = 2") as session:
        assert [(finding.row, finding.problem) for finding in verify_item(session, 1)] == [
            ("review 1", Problem.CHANGED)
        ]


def test_two_people_do_not_review_the_same_item_at_once(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    leave_undecided(ledger, item_id)
    rule(ledger, item_id, Verdict.YES, SEPARATE_STEP)
    with pytest.raises(DeepSoundError, match="it has not ended"):
        rule(ledger, item_id, Verdict.NO, PUBLISH_STEP)
    with ledger.write() as session:
        assert lock_run(session, run_id).id == run_id, "and nothing stays locked"
