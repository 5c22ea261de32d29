"""Deletes intermediates that nobody needs any more: features, coarse audio, unmastered stems, copies of sources.

What goes is written into the ledger before it goes, so that an audit never takes it for lost.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from db.expiry import note_expired
from db.retention import expendable, spare_sources, written_off
from tasks.worker import Worker

_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many intermediates and how many copies of sources were deleted."""

    intermediates: int
    sources: int


def prune(worker: Worker, older_than: timedelta) -> Pruned:
    """Delete what items made that ended longer ago; ledger and results stay.

    A step that is reused at this very moment may find its bytes gone; it is then done again. Raises
    DeepSoundError (LEDGER_*, STORE_*).
    """
    before = datetime.now(UTC) - older_than
    with worker.ledger.read() as session:
        begun = written_off(session, before, _AT_ONCE)
    intermediates = _delete(worker, begun)
    while batch := _write_off(worker, before, f"retention of {older_than.days} days"):
        intermediates += _delete(worker, batch)
    return Pruned(intermediates, _delete_sources(worker, before))


def _write_off(worker: Worker, before: datetime, reason: str) -> list[str]:
    with worker.ledger.write() as session:
        batch = expendable(session, before, _AT_ONCE)
        note_expired(session, batch, reason)
    return batch


def _delete_sources(worker: Worker, before: datetime) -> int:
    deleted, after = 0, ""
    while True:
        with worker.ledger.read() as session:
            batch = spare_sources(session, before, _AT_ONCE, after)
        if not batch:
            return deleted
        deleted, after = deleted + _delete(worker, batch), batch[-1]


def _delete(worker: Worker, artifacts: Iterable[str]) -> int:
    return sum(worker.store.delete(sha256) for sha256 in artifacts)
