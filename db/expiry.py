"""Bytes that retention deleted on purpose: written down before they go, so that nobody takes them for lost."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.chain import own_hash
from db.columns import Values, stored
from db.schema import Expiry, table_of

_CHUNK = 500


def note_expired(session: Session, artifacts: Iterable[str], reason: str) -> None:
    """Write down that the bytes of these artifacts (SHA-256) are deleted, and why."""
    now = datetime.now(UTC)
    rows = [_row(sha256, now, reason) for sha256 in sorted(set(artifacts))]
    if rows:
        session.execute(insert(table_of(Expiry)), rows)


def expired(session: Session, artifacts: Sequence[str]) -> set[str]:
    """Those of some artifacts whose bytes were deleted on purpose at some time."""
    chunks = (artifacts[start : start + _CHUNK] for start in range(0, len(artifacts), _CHUNK))
    columns = Expiry.artifact_sha256
    return {sha256 for chunk in chunks for sha256 in session.scalars(select(columns).where(columns.in_(chunk)))}


def _row(sha256: str, at: datetime, reason: str) -> Values:
    row = stored(table_of(Expiry), {"artifact_sha256": sha256, "at": at, "reason": reason})
    return {**row, "hash": own_hash(row)}
