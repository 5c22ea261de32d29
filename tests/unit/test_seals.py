"""What seals find that the rows by themselves do not: whatever was done with full rights and no key."""
# ruff: noqa: S608 - this is what somebody who means ill would type

from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.integrity.findings import Problem
from db.integrity.seal_checks import check_exported_seals, check_seal_sequence, check_seals
from db.integrity.verify import verify_run
from db.schema.database import Ledger
from db.schema.records import Decision
from db.schema.run_records import EventKind
from db.schema.tables import ItemRow, RunRow, SealRow, row_values
from db.state.lease_queue import claim
from db.write.attempts import record_attempt
from db.write.retries import retry_items
from db.write.run_events import record_event
from db.write.seals import seal_run
from tests.ledger_samples import (
    GENERATE_STEP,
    JUDGE_STEP,
    OWNER,
    PLAN_STEP,
    PUBLISH_STEP,
    a_run,
    begin,
    dub,
    record_of,
)
from tests.postgres import NewLedger
from tests.unit.test_ledger_verify import tampered

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
TRUSTED = frozenset({KEY.public_key().public_bytes_raw().hex()})

OWNED = ("effect", "thought", "decision", "attempt_artifact", "attempt_model")
"""Tables of what belongs to an attempt."""

Found = list[tuple[int | None, str, Problem]]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sealed(request: pytest.FixtureRequest, new_ledger: NewLedger) -> Iterator[Ledger]:
    """Three runs of two items, ids 1 to 6, each sealed as it closed."""
    with new_ledger(request.param) as ledger:
        for _ in range(3):
            close_and_seal(ledger)
        yield ledger


def close_and_seal(ledger: Ledger) -> str:
    run_id, items = begin(ledger, a_run("a.mp4", "b.mp4"))
    for item_id in items:
        assert not seal(ledger, run_id), "it is open"
        dub(ledger, item_id)
    assert seal(ledger, run_id)
    return run_id


def seal(ledger: Ledger, run_id: str) -> bool:
    with ledger.write() as session:
        return seal_run(session, run_id, KEY)


def runs_of(session: Session) -> list[str]:
    return list(session.scalars(select(RunRow.id).order_by(RunRow.id)))


def by_rows(session: Session) -> Found:
    findings = [finding for run in runs_of(session) for finding in verify_run(session, run)]
    return [(each.item_id, each.row, each.problem) for each in findings]


def by_seals(session: Session, trusted: frozenset[str] = TRUSTED) -> Found:
    findings = [finding for run in runs_of(session) for finding in check_seals(session, run, trusted).findings]
    return [(each.item_id, each.row, each.problem) for each in [*findings, *check_seal_sequence(session)]]


def delete_run(number: int) -> tuple[str, ...]:
    """Every trace of a run, its seals too."""
    run = f"(SELECT id FROM run ORDER BY id LIMIT 1 OFFSET {number - 1})"
    items = f"(SELECT id FROM item WHERE run_id = {run})"
    attempts = f"(SELECT id FROM attempt WHERE item_id IN {items})"
    return (
        *(f"DELETE FROM {table} WHERE attempt_id IN {attempts}" for table in OWNED),
        f"DELETE FROM attempt WHERE item_id IN {items}",
        f"DELETE FROM work WHERE item_id IN {items}",
        f"DELETE FROM item WHERE run_id = {run}",
        f"DELETE FROM seal WHERE run_id = {run}",
        f"DELETE FROM run WHERE id = {run}",
    )


def test_an_untouched_ledger_is_as_it_was_sealed(sealed: Ledger) -> None:
    with sealed.read() as session:
        assert by_seals(session) == []
        assert all(check_seals(session, run, TRUSTED).is_sealed for run in runs_of(session))


def test_a_run_is_sealed_once_as_it_stands(sealed: Ledger) -> None:
    with sealed.read() as session:
        first = runs_of(session)[0]
    assert not seal(sealed, first)


def test_a_dropped_last_attempt_with_its_row_of_the_to_do_list_is_named(sealed: Ledger) -> None:
    gone = "(SELECT id FROM attempt WHERE item_id = 2 AND seq = 6)"
    covered = (
        f"DELETE FROM attempt_artifact WHERE attempt_id = {gone}",
        f"DELETE FROM attempt WHERE id = {gone}",
        "UPDATE work SET state = 'pending' WHERE item_id = 2 AND step = 'publish'",
    )
    with tampered(sealed, *covered) as session:
        assert by_rows(session) == []
        assert by_seals(session) == [(2, "item 2", Problem.MISSING)]


def test_a_verdict_changed_with_its_whole_chain_written_anew_is_named(sealed: Ledger) -> None:
    steps = (PLAN_STEP, GENERATE_STEP, JUDGE_STEP, PUBLISH_STEP)
    records = {at: record_of(sealed, 1, at) for at in steps}
    no_voice = [Decision("voice_over", "no", 0.98)]
    records[JUDGE_STEP] = replace(records[JUDGE_STEP], followed_by=PUBLISH_STEP, decisions=no_voice, models=())
    of_item = "(SELECT id FROM attempt WHERE item_id = 1)"
    gone = (
        *(f"DELETE FROM {table} WHERE attempt_id IN {of_item}" for table in OWNED),
        "DELETE FROM attempt WHERE item_id = 1",
        "DELETE FROM work WHERE item_id = 1 AND step <> 'plan'",
        "UPDATE work SET state = 'pending' WHERE item_id = 1",
    )
    with tampered(sealed, *gone) as session:
        for record in records.values():
            assert claim(session, 1, record.at, OWNER, 60)
            record_attempt(session, record, OWNER)
        assert by_rows(session) == []
        assert by_seals(session) == [(1, "item 1", Problem.MISSING)], "four links, where six were sealed"
        retry_items(session, runs_of(session)[0], step=PUBLISH_STEP.step, pattern="a.mp4", by="kim@desk")
        assert claim(session, 1, PUBLISH_STEP, OWNER, 60, retries=1)
        record_attempt(session, record_of(sealed, 1, PUBLISH_STEP), OWNER)
        assert by_rows(session) == []
        assert by_seals(session) == [(1, "item 1", Problem.CHANGED)], "as many, and others"


@pytest.mark.parametrize(("number", "seal_after"), [(1, 2), (2, 3)])
def test_a_removed_run_is_a_gap_and_is_named(sealed: Ledger, number: int, seal_after: int) -> None:
    with sealed.read() as session:
        gone = runs_of(session)[number - 1]
    with tampered(sealed, *delete_run(number)) as session:
        assert by_rows(session) == []
        assert by_seals(session) == [
            (None, f"predecessor of seal {seal_after}", Problem.MISSING),
            (None, f"run {gone}", Problem.MISSING),
        ]


def test_the_last_run_removed_shows_against_seals_kept_outside(sealed: Ledger) -> None:
    with sealed.read() as session:
        kept = [row_values(each) for each in session.scalars(select(SealRow).order_by(SealRow.id))]
        assert not [*check_exported_seals(session, kept, TRUSTED)]
    with tampered(sealed, *delete_run(3)) as session:
        assert by_seals(session) == [], "nothing follows it"
        found = [(each.row, each.problem) for each in check_exported_seals(session, kept, TRUSTED)]
    assert [problem for _, problem in found] == [Problem.MISSING, Problem.MISSING]
    assert found[0][0].startswith(f"seal of run {kept[2]['run_id']} of ")
    assert found[1][0] == f"run {kept[2]['run_id']}"
    forged = {**kept[0], "merkle_root": "0" * 64}
    with sealed.read() as session:
        assert [each.problem for each in check_exported_seals(session, [forged], TRUSTED)] == [Problem.CHANGED]


def test_a_run_of_nobody_is_called_by_another_name_and_that_shows(sealed: Ledger) -> None:
    with sealed.read() as session:
        first = runs_of(session)[0]
    for change in ("name = 'others'", "created_at = '2020-01-01 00:00:00'"):
        with tampered(sealed, f"UPDATE run SET {change} WHERE id = '{first}'") as session:
            assert by_rows(session) == [], "no event of the run has its hash"
            assert by_seals(session) == [(None, f"run {first}", Problem.CHANGED)]


@pytest.mark.parametrize(
    "change",
    [
        "merkle_root = 'feed'",
        "items = 1",
        "witness = '{}'",
        "created_at = '2020-01-01 00:00:00'",
        "witness = NULL",
    ],
)
def test_a_changed_seal_is_named(sealed: Ledger, change: str) -> None:
    with tampered(sealed, f"UPDATE seal SET {change} WHERE id = 3") as session:
        assert by_seals(session) == [(None, "seal 3", Problem.CHANGED)]


@pytest.mark.parametrize(
    "change",
    [
        "created_at = 'yesterday'",
        "created_at = 5",
        "public_key = x'aa'",
        "signature = x'aa'",
        "witness = x'aa'",
        """witness = '{"events": [1e999, ""], "items": [], "previous": null}'""",
        "witness = replace(hex(zeroblob(50000)), '00', '[')",
    ],
)
def test_a_seal_made_unreadable_is_named(new_ledger: NewLedger, change: str) -> None:
    """SQLite keeps whatever it is given."""
    with new_ledger("sqlite") as ledger:
        for _ in range(2):
            close_and_seal(ledger)
        with ledger.read() as session:
            kept = [row_values(each) for each in session.scalars(select(SealRow).order_by(SealRow.id))]
        with tampered(ledger, f"UPDATE seal SET {change} WHERE id = 1") as session:
            found = by_seals(session)
            assert found[0] == (None, "seal 1", Problem.CHANGED)
            assert {row for _, row, _ in found} <= {"seal 1", "predecessor of seal 2"}
            assert len([*check_exported_seals(session, kept, TRUSTED)]) == 1


def test_a_seal_by_another_key_is_told(sealed: Ledger) -> None:
    other = frozenset({OTHER_KEY.public_key().public_bytes_raw().hex()})
    with sealed.read() as session:
        found = check_seals(session, runs_of(session)[0], other).findings
        assert [(each.row, each.detail) for each in found] == [
            ("seal 1", f"it is signed by another key, {next(iter(TRUSTED))}")
        ]
        assert by_seals(session, other | TRUSTED) == [], "keys change, and both may be trusted"


def test_what_came_after_a_seal_is_work_and_the_next_seal_holds_it(ledger: Ledger) -> None:
    run_id = close_and_seal(ledger)
    with ledger.write() as session:
        retry_items(session, run_id, step=PUBLISH_STEP.step, by="kim@desk", reason="a new release")
    assert not seal(ledger, run_id), "it is open again"
    with ledger.read() as session:
        items = list(session.scalars(select(ItemRow.id).order_by(ItemRow.id)))
        now = check_seals(session, run_id, TRUSTED)
        assert (now.findings, now.is_sealed) == ([], False)
    for item_id in items:
        with ledger.write() as session:
            assert claim(session, item_id, PUBLISH_STEP, OWNER, 60, retries=1)
            record_attempt(session, record_of(ledger, item_id, PUBLISH_STEP), OWNER)
    assert seal(ledger, run_id)
    with ledger.write() as session:
        record_event(session, run_id, EventKind.RESUMED, by="kim@desk")
    assert seal(ledger, run_id)
    with ledger.read() as session:
        assert by_seals(session) == []
        assert check_seals(session, run_id, TRUSTED).is_sealed
        assert session.scalars(select(SealRow.items)).all() == [2, 2, 2]
