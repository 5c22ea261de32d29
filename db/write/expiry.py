"""Bytes that retention deleted on purpose: written down before they go, so that nobody takes them for lost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, ScalarSelect, func, insert, select
from sqlalchemy.orm import Session

from db.integrity.verify import UNREADABLE, IntegrityFinding, Problem
from db.schema.column_types import Values, stored
from db.schema.hashing import own_hash
from db.schema.records import AttemptStatus
from db.schema.tables import ArtifactRow, AttemptArtifactRow, AttemptRow, ExpiryRow, row_values, table_of

_CHUNK = 500


def record_expiry(session: Session, artifacts: Iterable[str], reason: str) -> None:
    """Write down that the bytes of these artifacts (SHA-256) are deleted, and why."""
    now = datetime.now(UTC)
    rows = [_row(sha256, now, reason) for sha256 in sorted(set(artifacts))]
    if rows:
        session.execute(insert(table_of(ExpiryRow)), rows)


@dataclass(frozen=True, slots=True)
class Expired:
    """Artifacts whose bytes are gone on purpose, and rows that say so and are not as they were written."""

    artifacts: frozenset[str]
    findings: Sequence[IntegrityFinding]


def expired(session: Session, artifacts: Sequence[str]) -> Expired:
    """Those of some artifacts whose bytes were deleted on purpose, and not made or read again since."""
    gone, findings = set[str](), list[IntegrityFinding]()
    for start in range(0, len(artifacts), _CHUNK):
        of_chunk = ExpiryRow.artifact_sha256.in_(artifacts[start : start + _CHUNK])
        rows = select(ExpiryRow.id, ArtifactRow.sha256, ExpiryRow.at >= last_used())
        rows = (
            rows.join(ArtifactRow, ArtifactRow.sha256 == ExpiryRow.artifact_sha256)
            .where(of_chunk)
            .order_by(ExpiryRow.id)
        )
        honest = _as_written(session, of_chunk)
        for expiry_id, sha256, holds in session.execute(rows).tuples():
            if expiry_id not in honest:
                name = f"expiry {expiry_id} of {sha256}"
                findings.append(IntegrityFinding(None, name, Problem.CHANGED, "it does not match its hash"))
            elif holds:
                gone.add(sha256)
    return Expired(frozenset(gone), findings)


def _as_written(session: Session, which: ColumnElement[bool]) -> set[int]:
    """Ids of rows that match their hash. One that can't even be read, as SQLite keeps whatever it is given,
    does not, and hides none of the others.
    """
    try:
        rows = session.scalars(select(ExpiryRow).where(which)).all()
        return {row.id for row in rows if own_hash(row_values(row)) == row.hash}
    except UNREADABLE:
        ids = session.scalars(select(ExpiryRow.id).where(which)).all()
        return (
            {one for each in ids for one in _as_written(session, ExpiryRow.id == each)} if len(ids) > 1 else set()
        )


def last_used() -> ScalarSelect[datetime]:
    """When the last attempt ended that made or read an artifact; failed and reused ones may not have read it."""
    ended = select(func.max(AttemptRow.ended_at)).join(
        AttemptArtifactRow, AttemptArtifactRow.attempt_id == AttemptRow.id
    )
    ended = ended.where(AttemptRow.status == AttemptStatus.DONE.value)
    return (
        ended.where(AttemptArtifactRow.artifact_sha256 == ArtifactRow.sha256)
        .correlate(ArtifactRow)
        .scalar_subquery()
    )


def _row(sha256: str, at: datetime, reason: str) -> Values:
    row = stored(table_of(ExpiryRow), {"artifact_sha256": sha256, "at": at, "reason": reason})
    return {**row, "hash": own_hash(row)}
