"""What retention deleted on purpose is not lost, and what is lost does not pass for deleted on purpose."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.integrity.findings import Problem
from db.schema.records import StepRef
from db.state.lease_queue import claim
from db.write.attempts import record_attempt
from db.write.expiry import record_expiry
from db.write.retries import retry_items
from deepsound.errors import ArtifactMissingError
from deepsound.pipeline import OutcomeKind
from deepsound.storage.protocol import ArtifactStore
from tasks.operations.run_audit import RunAudit, verify_books
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import open_worker
from tests.ledger_samples import OWNER, PLAN_STEP, SEPARATE_STEP, a_run, begin, bytes_of, dub, record_of

OBSERVATIONS = bytes_of("item 1 observations").sha256


class Emptied:
    """A dubbed video in a ledger whose store has lost every byte."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "ledger.sqlite3"
        self.worker = open_worker(StoreUrls(db=f"sqlite:///{self.file}", store=str(folder / "store")))
        self.run, [self.item] = begin(self.worker.ledger, a_run("a.mp4"))
        dub(self.worker.ledger, self.item)

    def note(self, artifacts: Sequence[str]) -> None:
        with self.worker.ledger.write() as session:
            record_expiry(session, artifacts, "retention of 30 days")

    def plan_again(self) -> None:
        self.again(PLAN_STEP)

    def again(self, at: StepRef, **ended: object) -> None:
        with self.worker.ledger.write() as session:
            retry_items(session, self.run, step=at.step, by="kim@desk")
        now = datetime.now(UTC) + timedelta(seconds=1)
        done = record_of(self.worker.ledger, self.item, at)
        with self.worker.ledger.write() as session:
            assert claim(session, self.item, at, OWNER, 60, retries=1)
            record_attempt(session, replace(done, started_at=now, ended_at=now, **ended), OWNER)

    def forge(self, change: str) -> None:
        with closing(sqlite3.connect(self.file)) as connection:
            connection.execute("DROP TRIGGER IF EXISTS expiry_refuses_update")
            connection.execute(change)
            connection.commit()

    def books(self, *, rows_only: bool = False) -> RunAudit:
        return verify_books(self.worker, self.run, rows_only=rows_only)


@pytest.fixture
def emptied(tmp_path: Path) -> Emptied:
    return Emptied(tmp_path)


def lost(books: RunAudit) -> set[str]:
    return {each.row.split()[1] for each in books.findings if each.row.startswith("artifact ")}


def test_what_was_deleted_on_purpose_is_not_lost(emptied: Emptied) -> None:
    before = emptied.books()
    assert OBSERVATIONS in lost(before)
    emptied.note([OBSERVATIONS])
    books = emptied.books()
    assert lost(books) == lost(before) - {OBSERVATIONS}
    assert books.expired == 1


class Meanwhile:
    """A store that is read for long: something happens once it was asked for what the plan step observed."""

    def __init__(self, store: ArtifactStore, happens: Callable[[], object]) -> None:
        self._store, self._happens = store, [happens]

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def is_intact(self, sha256: str) -> bool:
        answer = self._store.is_intact(sha256)
        if sha256 == OBSERVATIONS and self._happens:
            self._happens.pop()()
        return answer


def test_what_is_deleted_on_purpose_during_an_audit_is_not_lost(emptied: Emptied) -> None:
    before = emptied.books()
    store = Meanwhile(emptied.worker.store, lambda: emptied.note([OBSERVATIONS]))
    books = verify_books(replace(emptied.worker, store=store), emptied.run)
    assert lost(books) == lost(before) - {OBSERVATIONS}
    assert books.expired == 1


def test_what_is_made_again_during_an_audit_is_not_lost(emptied: Emptied, tmp_path: Path) -> None:
    before = emptied.books()
    emptied.note([OBSERVATIONS])

    def make_again() -> None:
        (tmp_path / "made").write_bytes(b"item 1 observations")
        assert emptied.worker.store.put(tmp_path / "made", "application/x-npz").sha256 == OBSERVATIONS
        emptied.plan_again()

    books = verify_books(replace(emptied.worker, store=Meanwhile(emptied.worker.store, make_again)), emptied.run)
    assert lost(books) == lost(before) - {OBSERVATIONS}
    assert books.expired == 0


def test_what_was_made_again_since_is_lost_when_it_is_gone_again(emptied: Emptied) -> None:
    emptied.note([OBSERVATIONS])
    emptied.plan_again()
    books = emptied.books()
    assert OBSERVATIONS in lost(books)
    assert books.expired == 0


@pytest.mark.parametrize("ended", ["failed", "reused"])
def test_what_an_attempt_named_and_never_read_is_not_lost(emptied: Emptied, ended: str) -> None:
    """As where a retry meets what retention deleted, or finds that another run did all of the step."""
    coarse = bytes_of("item 1 coarse").sha256
    emptied.note([coarse])
    if ended == "failed":
        missing = ArtifactMissingError(f"artifact {coarse} is not in the store")
        emptied.again(SEPARATE_STEP, followed_by=OutcomeKind.FAILED, failure=missing, outputs={}, effects=())
    else:
        emptied.again(SEPARATE_STEP, reused_attempt_id=4, outputs={}, effects=())
    books = emptied.books()
    assert coarse not in lost(books)
    assert books.expired == 1


@pytest.mark.parametrize(
    "forged",
    [
        "UPDATE expiry SET at = '2031-01-01 00:00:00.000000'",
        "UPDATE expiry SET reason = 'none'",
        "UPDATE expiry SET at = 5",
        "UPDATE expiry SET reason = x'ff'",
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
