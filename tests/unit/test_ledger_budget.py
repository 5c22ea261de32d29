"""A budget of worker-hours stops a run when it is spent, and is granted again by whoever resumes the run."""

from datetime import timedelta

from sqlalchemy import insert

from db.read.run_state import RunState, run_events, run_state
from db.schema.database import Ledger
from db.schema.run_records import EventKind
from db.schema.tables import WorkerSessionRow
from db.write.run_events import pause_if_budget_spent, record_event
from tests.ledger_samples import NOON, OWNER, a_run, begin


def spend(ledger: Ledger, run_id: str, hours: float) -> None:
    ended = NOON + timedelta(hours=hours)
    row = {"run_id": run_id, "owner": OWNER, "host": "worker-1", "device": "cpu"}
    with ledger.write() as session:
        session.execute(insert(WorkerSessionRow), {**row, "started_at": NOON, "seen_at": ended, "ended_at": ended})


def is_stopped(ledger: Ledger, run_id: str) -> bool:
    """What the follower finds, who asks every few seconds, of a budget of two hours."""
    with ledger.write() as session:
        stopped = pause_if_budget_spent(session, run_id, 2.0, by=OWNER)
        assert stopped == (run_state(session, run_id) is RunState.PAUSED)
    return stopped


def note(ledger: Ledger, run_id: str, kind: EventKind) -> None:
    with ledger.write() as session:
        record_event(session, run_id, kind, by="kim@desk")


def test_resuming_a_run_whose_budget_was_spent_grants_it_again(ledger: Ledger) -> None:
    run_id, _ = begin(ledger, a_run("a.mp4"))
    note(ledger, run_id, EventKind.SUBMITTED)
    spend(ledger, run_id, 1.5)
    assert not is_stopped(ledger, run_id)
    spend(ledger, run_id, 1.0)
    assert is_stopped(ledger, run_id)
    for _ in range(2):
        note(ledger, run_id, EventKind.RESUMED)
        spend(ledger, run_id, 1.9)
        assert not is_stopped(ledger, run_id), "it goes on"
        spend(ledger, run_id, 0.2)
        assert is_stopped(ledger, run_id)
    with ledger.read() as session:
        spent = [event.details for event in run_events(session, run_id) if event.kind is EventKind.BUDGET_SPENT]
    assert [details["spent_hours"] for details in spent] == [2.5, 4.6, 6.7]


def test_a_pause_that_is_not_the_budgets_grants_nothing(ledger: Ledger) -> None:
    run_id, _ = begin(ledger, a_run("a.mp4"))
    spend(ledger, run_id, 1.5)
    note(ledger, run_id, EventKind.PAUSED)
    note(ledger, run_id, EventKind.RESUMED)
    spend(ledger, run_id, 0.6)
    assert is_stopped(ledger, run_id)


def test_a_run_that_was_cancelled_stays_cancelled(ledger: Ledger) -> None:
    run_id, _ = begin(ledger, a_run("a.mp4"))
    spend(ledger, run_id, 3.0)
    note(ledger, run_id, EventKind.CANCELLED)
    with ledger.write() as session:
        assert not pause_if_budget_spent(session, run_id, 2.0, by=OWNER)
        assert run_state(session, run_id) is RunState.CANCELLED
