"""What an operator does to a run is written down, and says whether the run may go on."""

import threading

import pytest

from db.read.run_state import RunEvent, RunState, find_submission, run_events, run_state
from db.schema.database import Ledger
from db.schema.run_records import EventKind
from db.write.run_events import record_event
from deepsound.errors import DeepSoundError, ErrorCode
from tests.ledger_samples import a_run, begin

KIM = "kim@desk"


def note(ledger: Ledger, run_id: str, kind: EventKind) -> None:
    with ledger.write() as session:
        record_event(session, run_id, kind, by=KIM)


def state(ledger: Ledger, run_id: str) -> RunState:
    with ledger.read() as session:
        return run_state(session, run_id)


def test_a_run_goes_on_until_it_is_paused_cancelled_or_out_of_budget(ledger: Ledger) -> None:
    run_id, _ = begin(ledger, a_run("a.mp4"))
    assert state(ledger, run_id) is RunState.ACTIVE
    for kind, after in (
        (EventKind.SUBMITTED, RunState.ACTIVE),
        (EventKind.PAUSED, RunState.PAUSED),
        (EventKind.RETRIED, RunState.PAUSED),
        (EventKind.RESUMED, RunState.ACTIVE),
        (EventKind.BUDGET_SPENT, RunState.PAUSED),
        (EventKind.RESUMED, RunState.ACTIVE),
        (EventKind.CANCELLED, RunState.CANCELLED),
        (EventKind.RETRIED, RunState.CANCELLED),
        (EventKind.RESUMED, RunState.ACTIVE),
    ):
        note(ledger, run_id, kind)
        assert state(ledger, run_id) is after, kind


def test_an_event_says_who_when_why_and_what(ledger: Ledger) -> None:
    run_id, _ = begin(ledger, a_run("a.mp4"))
    with ledger.write() as session:
        record_event(
            session, run_id, EventKind.CANCELLED, by=KIM, reason="wrong reels\x00", details={"until": "tomorrow"}
        )
    with ledger.read() as session:
        [event] = run_events(session, run_id)
    assert event == RunEvent(1, event.at, EventKind.CANCELLED, KIM, "wrong reels\ufffd", {"until": "tomorrow"})
    assert event.at.tzinfo is not None


def test_the_order_of_a_run_is_what_it_was_last_submitted_with(ledger: Ledger) -> None:
    run_id, _ = begin(ledger, a_run("a.mp4"))
    with ledger.read() as session:
        assert find_submission(session, run_id) is None
    for pool in ("cpu", "gpu"):
        with ledger.write() as session:
            record_event(session, run_id, EventKind.SUBMITTED, by=KIM, details={"pool": pool})
    note(ledger, run_id, EventKind.PAUSED)
    with ledger.read() as session:
        assert find_submission(session, run_id) == {"pool": "gpu"}


def test_what_many_do_at_once_is_all_written_down_in_one_order(ledger: Ledger) -> None:
    run_id, _ = begin(ledger, a_run("a.mp4"))
    kinds = [EventKind.PAUSED, EventKind.RESUMED] * 4
    threads = [threading.Thread(target=note, args=(ledger, run_id, kind)) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.read() as session:
        assert [event.seq for event in run_events(session, run_id)] == list(range(1, 9))


def test_nothing_is_done_to_a_run_that_is_not_there(ledger: Ledger) -> None:
    with pytest.raises(DeepSoundError, match="there is no run nonesuch") as caught:
        note(ledger, "nonesuch", EventKind.PAUSED)
    assert caught.value.code is ErrorCode.BAD_SETTINGS
