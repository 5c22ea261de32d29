"""Whoever goes behind the ledger's back is found out, row by row."""
# ruff: noqa: S608 - this is what somebody who means ill would type

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.integrity.findings import Problem
from db.integrity.seal_checks import check_seals
from db.integrity.verify import verify_item, verify_run
from db.schema.database import Ledger, open_ledger
from db.schema.run_records import EventKind
from db.schema.tables import Base, ItemRow
from db.state.lease_queue import claim
from db.write.attempts import record_attempt
from db.write.retries import retry_items
from db.write.run_events import record_event
from deepsound.errors import StoreUnreachableError
from deepsound.pipeline import Step
from tests.ledger_samples import (
    CHECK_STEP,
    GENERATE_STEP,
    OWNER,
    PLAN_STEP,
    PUBLISH_STEP,
    a_run,
    attempt,
    begin,
    bytes_of,
    dub,
    record_of,
    write,
)
from tests.postgres import NewLedger

FIRST, SECOND = 1, 2
"""Ids of the two items of `dubbed`; the second is the one that is tampered with."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def dubbed(request: pytest.FixtureRequest, new_ledger: NewLedger) -> Iterator[Ledger]:
    """A ledger with two dubbed items. What tests do to it is rolled back."""
    with new_ledger(request.param) as ledger:
        _, items = begin(ledger, a_run("a.mp4", "b.mp4"))
        assert items == [FIRST, SECOND]
        for item_id in items:
            dub(ledger, item_id)
        yield ledger


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def retried(request: pytest.FixtureRequest, new_ledger: NewLedger) -> Iterator[Ledger]:
    """A ledger with two dubbed items; of the second, two steps were taken back and done once more."""
    with new_ledger(request.param) as ledger:
        run_id, items = begin(ledger, a_run("a.mp4", "b.mp4"))
        for item_id in items:
            dub(ledger, item_id)
        for times, redone in enumerate(([CHECK_STEP, PUBLISH_STEP], [PUBLISH_STEP]), 1):
            with ledger.write() as session:
                retry_items(
                    session, run_id, step=redone[0].step, pattern="b.mp4", by="kim@desk", reason="a new release"
                )
            for at in redone:
                with ledger.write() as session:
                    assert claim(session, SECOND, at, OWNER, 60, retries=times)
                    record_attempt(session, record_of(ledger, SECOND, at), OWNER)
        yield ledger


@contextmanager
def tampered(ledger: Ledger, *statements: str) -> Iterator[Session]:
    """What somebody sees after changes that need full rights on the database; nothing of it lasts."""
    with ledger.read() as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET session_replication_role = replica")
        else:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            for table in Base.metadata.tables.keys() - {"work"}:
                connection.exec_driver_sql(f"DROP TRIGGER {table}_refuses_update")
                connection.exec_driver_sql(f"DROP TRIGGER {table}_refuses_delete")
        for statement in statements:
            connection.exec_driver_sql(statement)
        yield session


def rows_found(ledger: Ledger, *statements: str) -> list[tuple[str, Problem]]:
    with tampered(ledger, *statements) as session:
        assert verify_item(session, FIRST) == []
        return [(finding.row, finding.problem) for finding in verify_item(session, SECOND)]


def run_of(session: Session) -> str:
    return session.scalars(select(ItemRow.run_id).where(ItemRow.id == FIRST)).one()


def test_an_untouched_ledger_has_nothing_to_say(dubbed: Ledger) -> None:
    with dubbed.read() as session:
        assert verify_item(session, SECOND) == []
        assert verify_run(session, run_of(session)) == []


def test_failed_retried_and_reused_attempts_verify_too(ledger: Ledger) -> None:
    run_id, (first, second) = begin(ledger, a_run("a.mp4", "b.mp4"))
    down = StoreUnreachableError("no answer", where="s3://archive", remedy="check the network")
    write(ledger, attempt(first, PLAN_STEP, PLAN_STEP, failure=down))
    made = write(ledger, attempt(first, PLAN_STEP, GENERATE_STEP, outputs={"seen": bytes_of("seen")}))
    write(ledger, attempt(second, PLAN_STEP, GENERATE_STEP, reused_attempt_id=made))
    with ledger.read() as session:
        assert verify_run(session, run_id) == []


OF_JUDGE = "(SELECT id FROM attempt WHERE item_id = 2 AND step = 'judge')"
OF_SEPARATE = "(SELECT id FROM attempt WHERE item_id = 2 AND step = 'separate')"
JUDGE, SEPARATE = "attempt 3 (judge, round 1)", "attempt 4 (separate, round 1)"


@pytest.mark.parametrize(
    ("change", "row", "problem"),
    [
        ("UPDATE attempt SET probability = 0.02 WHERE id = " + OF_JUDGE, JUDGE, Problem.CHANGED),
        ("UPDATE attempt SET raw_output = 'B' WHERE id = " + OF_JUDGE, JUDGE, Problem.CHANGED),
        ("UPDATE attempt SET prompt_sha256 = NULL WHERE id = " + OF_JUDGE, JUDGE, Problem.CHANGED),
        ("UPDATE attempt SET next_step = 'publish' WHERE id = " + OF_JUDGE, JUDGE, Problem.CHANGED),
        (
            "UPDATE thought SET text = 'All is well.' WHERE position = 2 AND attempt_id = " + OF_JUDGE,
            f"{JUDGE}, thought 2",
            Problem.CHANGED,
        ),
        (
            "DELETE FROM thought WHERE position = 1 AND attempt_id = " + OF_JUDGE,
            f"{JUDGE}, thought 1",
            Problem.MISSING,
        ),
        (
            "INSERT INTO thought (attempt_id, position, stage, text, span_start, span_end)"
            " SELECT id, 4, 'conclusion', 'B', 0, 1 FROM attempt WHERE id = " + OF_JUDGE,
            f"{JUDGE}, thought 4",
            Problem.ADDED,
        ),
        (
            "UPDATE decision SET value = 'no' WHERE attempt_id = " + OF_JUDGE,
            f"{JUDGE}, decision 0",
            Problem.CHANGED,
        ),
        (
            "UPDATE effect SET end_seconds = 9.0 WHERE position = 1 AND attempt_id = " + OF_SEPARATE,
            f"{SEPARATE}, effect 1",
            Problem.CHANGED,
        ),
        (
            "UPDATE effect SET decision_attempt_id = decision_attempt_id - 2 WHERE position = 0 AND attempt_id = "
            + OF_SEPARATE,
            f"{SEPARATE}, effect 0",
            Problem.CHANGED,
        ),
        (
            "DELETE FROM attempt_artifact WHERE role = 'background' AND attempt_id = " + OF_SEPARATE,
            f"{SEPARATE}, attempt_artifact output background",
            Problem.MISSING,
        ),
        (
            "UPDATE attempt_artifact SET role = 'music' WHERE role = 'voice' AND attempt_id = " + OF_SEPARATE,
            f"{SEPARATE}, attempt_artifact output music",
            Problem.ADDED,
        ),
        (
            "UPDATE artifact SET size = 1 WHERE sha256 = (SELECT artifact_sha256 FROM attempt_artifact"
            " WHERE role = 'voice' AND attempt_id = " + OF_SEPARATE + ")",
            f"{SEPARATE}, attempt_artifact output voice",
            Problem.CHANGED,
        ),
        ("UPDATE item SET source = 'c.mp4' WHERE id = 2", "item 2", Problem.CHANGED),
        (
            "UPDATE video SET size = 1 WHERE sha256 = (SELECT video_sha256 FROM item WHERE id = 2)",
            "item 2",
            Problem.CHANGED,
        ),
    ],
)
def test_a_changed_row_is_named(dubbed: Ledger, change: str, row: str, problem: Problem) -> None:
    assert (row, problem) in rows_found(dubbed, change)


def test_a_change_that_covers_its_own_tracks_breaks_the_chain_after_it(dubbed: Ledger) -> None:
    rows = rows_found(dubbed, f"UPDATE attempt SET hash = '{'0' * 64}' WHERE item_id = 2 AND seq = 3")
    assert rows == [
        (JUDGE, Problem.CHANGED),
        (SEPARATE, Problem.CHANGED),
        *[(f"{SEPARATE}, effect {n}", Problem.CHANGED) for n in (0, 1)],
    ]


def test_an_attempt_taken_out_of_the_middle_is_missed(dubbed: Ledger) -> None:
    gone = "(SELECT id FROM attempt WHERE item_id = 2 AND seq = 5)"
    rows = rows_found(
        dubbed,
        f"DELETE FROM decision WHERE attempt_id = {gone}",
        f"DELETE FROM attempt_artifact WHERE attempt_id = {gone}",
        "DELETE FROM attempt WHERE item_id = 2 AND seq = 5",
    )
    assert ("attempt 5", Problem.MISSING) in rows


CUT_OFF_THE_END = (
    "DELETE FROM attempt_artifact WHERE attempt_id = (SELECT id FROM attempt WHERE item_id = 2 AND seq = 6)",
    "DELETE FROM attempt WHERE item_id = 2 AND seq = 6",
)


def test_attempts_cut_off_the_end_are_missed_as_long_as_the_to_do_list_knows_them(dubbed: Ledger) -> None:
    assert rows_found(dubbed, *CUT_OFF_THE_END) == [("attempt at publish, round 1", Problem.MISSING)]
    forgotten = "DELETE FROM work WHERE item_id = 2 AND step = 'publish'"
    assert rows_found(dubbed, *CUT_OFF_THE_END, forgotten) == [("work publish, round 1", Problem.MISSING)]


def test_an_attempt_moved_to_another_item_is_missed_there_and_not_believed_here(dubbed: Ledger) -> None:
    with tampered(dubbed, "UPDATE attempt SET item_id = 2, seq = 7 WHERE item_id = 1 AND seq = 6") as session:
        assert [finding.problem for finding in verify_item(session, FIRST)] == [Problem.MISSING]
        moved = verify_item(session, SECOND)
    assert ("attempt 7 (publish, round 1)", Problem.CHANGED) in [(found.row, found.problem) for found in moved]


def test_changed_shared_rows_are_named_where_they_are_used(dubbed: Ledger) -> None:
    changes = (
        "UPDATE model SET licence = 'GPL-3.0-only'",
        "UPDATE document SET body = 'Is it silent?' WHERE substr(body, 1, 5) = 'Given'",
        "UPDATE environment SET python = '3.99'",
        "UPDATE code_version SET revision = 'abc'",
    )
    with tampered(dubbed, *changes) as session:
        rows = [finding.row for finding in verify_item(session, SECOND)]
    assert {row.split(", ")[-1].split()[0] for row in rows} == {"model", "document", "environment", "code_version"}


def test_changed_settings_are_found_in_the_run(dubbed: Ledger) -> None:
    with tampered(dubbed, "UPDATE run SET settings = '{\"seed\":8}'") as session:
        findings = verify_run(session, run_of(session))
        assert verify_run(session, "none")[0].problem is Problem.MISSING
    assert [finding.detail for finding in findings] == ["settings do not match their hash"]


@pytest.mark.parametrize(
    "change",
    [
        ("UPDATE item SET ordinal = 9 WHERE id = 1",),
        (
            "DELETE FROM work WHERE item_id = 2",
            *(
                f"DELETE FROM {table} WHERE attempt_id IN (SELECT id FROM attempt WHERE item_id = 2)"
                for table in ("effect", "decision", "thought", "attempt_artifact", "attempt_model")
            ),
            "DELETE FROM attempt WHERE item_id = 2",
            "DELETE FROM item WHERE id = 2",
        ),
    ],
)
def test_a_changed_list_is_found_in_the_run(dubbed: Ledger, change: tuple[str, ...]) -> None:
    with tampered(dubbed, *change) as session:
        details = [finding.detail for finding in verify_run(session, run_of(session)) if finding.item_id is None]
    assert details == ["its items are not those it was registered with"]


def test_steps_taken_back_and_done_again_verify_too(retried: Ledger) -> None:
    with retried.read() as session:
        assert verify_run(session, run_of(session)) == []


CHECK_BACK, PUBLISH_BACK = "retry 1 (check_silence, round 1)", "retry 2 (publish, round 1)"


@pytest.mark.parametrize(
    ("change", "row", "problem"),
    [
        ("UPDATE retry SET reason = 'none' WHERE item_id = 2 AND seq = 1", CHECK_BACK, Problem.CHANGED),
        ("UPDATE retry SET \"by\" = 'root' WHERE item_id = 2 AND seq = 2", PUBLISH_BACK, Problem.CHANGED),
        (
            "UPDATE retry SET step = 'plan' WHERE item_id = 2 AND seq = 1",
            "retry 1 (plan, round 1)",
            Problem.CHANGED,
        ),
        ("DELETE FROM retry WHERE item_id = 2 AND seq = 1", "retry 1", Problem.MISSING),
        (
            "DELETE FROM retry WHERE item_id = 2 AND seq = 2",
            "attempt 9 (publish, round 1)",
            Problem.CHANGED,
        ),
        (
            'INSERT INTO retry SELECT item_id, 3, 9, step, round, recompute, at, "by", reason, previous_hash, hash'
            " FROM retry WHERE item_id = 2 AND seq = 2",
            "retry 3 (publish, round 1)",
            Problem.CHANGED,
        ),
    ],
)
def test_a_changed_retry_is_named(retried: Ledger, change: str, row: str, problem: Problem) -> None:
    assert (row, problem) in rows_found(retried, change)


def test_a_retry_cut_off_the_end_is_missed_as_long_as_the_to_do_list_knows_it(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    dub(ledger, item_id)
    with ledger.write() as session:
        retry_items(session, run_id, step=Step.CHECK_SILENCE, by="kim@desk")
    with tampered(ledger, "DELETE FROM retry") as session:
        rows = [(finding.row, finding.problem) for finding in verify_item(session, item_id)]
    assert rows == [
        ("retry of check_silence, round 1", Problem.MISSING),
        ("work publish, round 1", Problem.MISSING),
    ]


@pytest.mark.parametrize(
    ("change", "row", "problem"),
    [
        ("UPDATE run_event SET reason = 'lunch' WHERE seq = 1", "run_event 1 (paused)", Problem.CHANGED),
        ("UPDATE run_event SET kind = 'resumed' WHERE seq = 2", "run_event 2 (resumed)", Problem.CHANGED),
        ("DELETE FROM run_event WHERE seq = 1", "run_event 1", Problem.MISSING),
        ("UPDATE run_event SET seq = 4 WHERE seq = 1", "run_event 1", Problem.MISSING),
        ("UPDATE run SET name = 'others'", "run_event 1 (paused)", Problem.CHANGED),
    ],
)
def test_a_changed_event_of_a_run_is_named(ledger: Ledger, change: str, row: str, problem: Problem) -> None:
    run_id, _ = begin(ledger, a_run("a.mp4"))
    for kind in (EventKind.PAUSED, EventKind.CANCELLED, EventKind.RESUMED):
        with ledger.write() as session:
            record_event(session, run_id, kind, by="kim@desk")
    with tampered(ledger, change) as session:
        assert (row, problem) in [(finding.row, finding.problem) for finding in verify_run(session, run_id)]


def test_an_item_that_is_not_there_is_missing(dubbed: Ledger) -> None:
    with dubbed.read() as session:
        assert [finding.problem for finding in verify_item(session, 99)] == [Problem.MISSING]


@pytest.mark.parametrize(
    ("garbage", "named"),
    [
        ("attempt SET started_at = 'noon', result = '{' WHERE item_id = 2 AND seq = 3", "attempt 3"),
        ("attempt SET started_at = 5 WHERE item_id = 2 AND seq = 3", "attempt 3"),
        ("attempt SET raw_output = x'aa' WHERE item_id = 2 AND seq = 3", "attempt 3"),
        ("attempt SET digests = '5' WHERE item_id = 2 AND seq = 3", "item 2"),
        ("attempt SET result = '[1]' WHERE item_id = 2 AND seq = 3", "item 2"),
        ("attempt SET step = 'sing' WHERE item_id = 2 AND seq = 3", "item 2"),
        ("work SET state = 'lost' WHERE item_id = 2", "item 2"),
    ],
)
def test_a_row_made_unreadable_is_a_finding_not_a_crash(tmp_path: Path, garbage: str, named: str) -> None:
    # PostgreSQL keeps times and JSON readable by itself.
    with closing(open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")) as ledger:
        _, items = begin(ledger, a_run("a.mp4", "b.mp4"))
        for item_id in items:
            dub(ledger, item_id)
        with tampered(ledger, f"UPDATE {garbage}") as session:
            findings = verify_run(session, run_of(session))
    assert [(finding.item_id, finding.row) for finding in findings] == [(2, named)]


@pytest.mark.parametrize("garbage", ["created_at = 'noon'", "settings = '{'", "name = x'aa'"])
def test_a_run_made_unreadable_is_a_finding_not_a_crash(tmp_path: Path, garbage: str) -> None:
    with closing(open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")) as ledger:
        run_id, _ = begin(ledger, a_run("a.mp4", "b.mp4"))
        with tampered(ledger, f"UPDATE run SET {garbage}") as session:
            assert (f"run {run_id}", Problem.CHANGED) in [
                (finding.row, finding.problem) for finding in verify_run(session, run_id)
            ]
            assert not check_seals(session, run_id, ()).is_sealed
