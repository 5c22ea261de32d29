"""Every line of a run's list is accounted for, and what does not add up is said."""

from sqlalchemy import delete

from db.integrity.reconcile import ItemStatus, Reconciliation, reconcile_run
from db.schema.database import Ledger
from db.schema.tables import WorkRow
from db.write.retries import retry_items
from deepsound.errors import QuarantinedError, SourceCorruptError
from deepsound.pipeline import OutcomeKind, Step
from tests.ledger_samples import GENERATE_STEP, PLAN_STEP, a_run, attempt, begin, dub, write

CORRUPT = SourceCorruptError("it ends in the middle", where="b.mp4")
POISON = QuarantinedError("plan killed its worker twice", where="c.mp4")


def reconciled(ledger: Ledger, run_id: str) -> Reconciliation:
    with ledger.read() as session:
        found = reconcile_run(session, run_id)
    assert found is not None
    return found


def test_every_video_has_its_fate_and_its_reason(ledger: Ledger) -> None:
    run_id, (done, failed, poison, review, removed, reused, open_) = begin(
        ledger, a_run(*(f"{letter}.mp4" for letter in "abcdefg"))
    )
    dub(ledger, done)
    write(ledger, attempt(failed, PLAN_STEP, OutcomeKind.FAILED, failure=CORRUPT))
    write(ledger, attempt(poison, PLAN_STEP, OutcomeKind.FAILED, failure=POISON))
    undecided = {"outcome": "needs_review", "why": "the verdict is undecided"}
    write(ledger, attempt(review, PLAN_STEP, OutcomeKind.NEEDS_REVIEW, result=undecided))
    nothing = {"outcome": "removed", "why": "nothing is put out"}
    made = write(ledger, attempt(removed, PLAN_STEP, OutcomeKind.REMOVED, result=nothing))
    write(ledger, attempt(reused, PLAN_STEP, OutcomeKind.REMOVED, reused_attempt_id=made))
    write(ledger, attempt(open_, PLAN_STEP, GENERATE_STEP))
    found = reconciled(ledger, run_id)
    assert [(each.status, each.reason) for each in found.items] == [
        (ItemStatus.DONE, "the voice was removed"),
        (ItemStatus.FAILED, "b.mp4: it ends in the middle; copy it again, or repair it"),
        (ItemStatus.QUARANTINED, "c.mp4: plan killed its worker twice; look at the file, then retry it"),
        (ItemStatus.NEEDS_REVIEW, "the verdict is undecided"),
        (ItemStatus.REMOVED, "nothing is put out"),
        (ItemStatus.REMOVED, "nothing is put out"),
        (ItemStatus.OPEN, None),
    ]
    assert found.problems == []
    assert not found.is_clean, "one is open"
    write(ledger, attempt(open_, GENERATE_STEP, OutcomeKind.FAILED, failure=CORRUPT))
    assert reconciled(ledger, run_id).is_clean


def test_a_video_that_was_reopened_is_open_and_what_is_done_again_is_no_second_result(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    write(ledger, attempt(item_id, PLAN_STEP, OutcomeKind.DONE, result={"why": "it is short"}))
    with ledger.write() as session:
        retry_items(session, run_id, step=Step.PLAN, by="kim@desk")
    assert reconciled(ledger, run_id).status_counts == {ItemStatus.OPEN: 1}


def test_a_run_that_is_not_there_has_nothing_to_account_for(ledger: Ledger) -> None:
    with ledger.read() as session:
        assert reconcile_run(session, "nonesuch") is None


def test_what_does_not_add_up_is_said(ledger: Ledger) -> None:
    run_id, (silent, twice, forgotten) = begin(ledger, a_run("a.mp4", "b.mp4", "c.mp4"))
    write(ledger, attempt(silent, PLAN_STEP, OutcomeKind.REMOVED))
    write(ledger, attempt(twice, PLAN_STEP, GENERATE_STEP))
    write(ledger, attempt(twice, GENERATE_STEP, PLAN_STEP))
    write(ledger, attempt(twice, PLAN_STEP, OutcomeKind.DONE, result={"why": "again"}))
    with ledger.write() as session:
        session.execute(delete(WorkRow).where(WorkRow.item_id == forgotten))
    assert reconciled(ledger, run_id).problems == [
        f"item {silent} (a.mp4) is removed without a reason",
        f"item {twice} (b.mp4) has 2 results of step plan, round 1",
        f"item {forgotten} (c.mp4) is open by its attempts, but ended in the table work",
    ]
