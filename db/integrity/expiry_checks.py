"""Tells artifacts that retention deleted from artifacts that are missing, and checks the rows that say so."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from db.integrity.findings import UNREADABLE, IntegrityFinding, Problem
from db.read.deletable import last_used
from db.schema.hashing import own_hash
from db.schema.tables import ArtifactRow, ExpiryRow, row_values

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class ExpiryCheck:
    """Artifacts whose bytes retention deleted, and rows of `expiry` that do not match their hash."""

    artifacts: frozenset[str]
    findings: Sequence[IntegrityFinding]


def check_expiries(session: Session, artifacts: Sequence[str]) -> ExpiryCheck:
    """Returns which of some artifacts expired, and were neither made nor read again since."""
    expired, findings = set[str](), list[IntegrityFinding]()
    for start in range(0, len(artifacts), _CHUNK):
        of_chunk = ExpiryRow.artifact_sha256.in_(artifacts[start : start + _CHUNK])
        rows = (
            select(ExpiryRow.id, ArtifactRow.sha256, ExpiryRow.at >= last_used())
            .join(ArtifactRow, ArtifactRow.sha256 == ExpiryRow.artifact_sha256)
            .where(of_chunk)
            .order_by(ExpiryRow.id)
        )
        intact = _intact_rows(session, of_chunk)
        for expiry_id, sha256, is_in_effect in session.execute(rows).tuples():
            if expiry_id not in intact:
                name = f"expiry {expiry_id} of {sha256}"
                findings.append(IntegrityFinding(None, name, Problem.CHANGED, "it does not match its hash"))
            elif is_in_effect:
                expired.add(sha256)
    return ExpiryCheck(frozenset(expired), findings)


def _intact_rows(session: Session, which: ColumnElement[bool]) -> set[int]:
    """Returns the ids of rows that match their hash. An unreadable row does not, and affects no other row."""
    try:
        rows = session.scalars(select(ExpiryRow).where(which)).all()
        return {row.id for row in rows if own_hash(row_values(row)) == row.hash}
    except UNREADABLE:
        ids = session.scalars(select(ExpiryRow.id).where(which)).all()
        if len(ids) == 1:
            return set()
        return {intact for row_id in ids for intact in _intact_rows(session, ExpiryRow.id == row_id)}
