"""What retention deleted on purpose is not lost, and what is lost does not pass for deleted on purpose."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.expiry import note_expired
from db.reopening import reopen_items
from db.verify import Problem
from db.work import claim
from db.writes import record_attempt
from tasks.place import Place
from tasks.verify import Books, verify_books
from tasks.worker import worker_at
from tests.ledger_samples import OWNER, PLAN_STEP, a_run, begin, bytes_of, dub, record_of

OBSERVATIONS = bytes_of("item 1 observations").sha256


class Emptied:
    """A dubbed video in a ledger whose store has lost every byte."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "ledger.sqlite3"
        self.worker = worker_at(Place(f"sqlite:///{self.file}", str(folder / "store")))
        self.run, [self.item] = begin(self.worker.ledger, a_run("a.mp4"))
        dub(self.worker.ledger, self.item)

    def note(self, artifacts: Sequence[str]) -> None:
        with self.worker.ledger.write() as session:
            note_expired(session, artifacts, "retention of 30 days")

    def plan_again(self) -> None:
        with self.worker.ledger.write() as session:
            reopen_items(session, self.run, step=PLAN_STEP.step, by="kim@desk")
        now = datetime.now(UTC) + timedelta(seconds=1)
        record = replace(record_of(self.worker.ledger, self.item, PLAN_STEP), started_at=now, ended_at=now)
        with self.worker.ledger.write() as session:
            assert claim(session, self.item, PLAN_STEP, OWNER, 60, reopenings=1)
            record_attempt(session, record, OWNER)

    def forge(self, change: str) -> None:
        with closing(sqlite3.connect(self.file)) as connection:
            connection.execute("DROP TRIGGER IF EXISTS expiry_refuses_update")
            connection.execute(change)
            connection.commit()

    def books(self, *, rows_only: bool = False) -> Books:
        return verify_books(self.worker, self.run, rows_only=rows_only)


@pytest.fixture
def emptied(tmp_path: Path) -> Emptied:
    return Emptied(tmp_path)


def lost(books: Books) -> set[str]:
    return {each.row.split()[1] for each in books.findings if each.row.startswith("artifact ")}


def test_what_was_deleted_on_purpose_is_not_lost(emptied: Emptied) -> None:
    before = emptied.books()
    assert OBSERVATIONS in lost(before)
    emptied.note([OBSERVATIONS])
    books = emptied.books()
    assert lost(books) == lost(before) - {OBSERVATIONS}
    assert books.expired == 1


def test_what_was_made_again_since_is_lost_when_it_is_gone_again(emptied: Emptied) -> None:
    emptied.note([OBSERVATIONS])
    emptied.plan_again()
    books = emptied.books()
    assert OBSERVATIONS in lost(books)
    assert books.expired == 0


@pytest.mark.parametrize(
    "forged",
    [
        "UPDATE expiry SET at = '2031-01-01 00:00:00.000000'",
        "UPDATE expiry SET reason = 'none'",
        "INSERT INTO expiry (artifact_sha256, at, reason, hash) SELECT artifact_sha256, at, '', hash FROM expiry",
    ],
)
def test_a_forged_row_is_named_and_excuses_nothing(emptied: Emptied, forged: str) -> None:
    emptied.note([OBSERVATIONS])
    emptied.forge(forged)
    for rows_only in (False, True):
        found = [(each.row, each.problem) for each in emptied.books(rows_only=rows_only).findings]
        number = 2 if forged.startswith("INSERT") else 1
        assert (f"expiry {number} of {OBSERVATIONS}", Problem.CHANGED) in found
    assert (OBSERVATIONS in lost(emptied.books())) is (number == 1)
