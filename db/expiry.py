"""Bytes that retention deleted on purpose: written down before they go, so that nobody takes them for lost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ScalarSelect, func, insert, select
from sqlalchemy.orm import Session

from db.chain import own_hash
from db.columns import Values, stored
from db.schema import Artifact, Attempt, AttemptArtifact, Expiry, row_values, table_of
from db.verify import Finding, Problem

_CHUNK = 500


def note_expired(session: Session, artifacts: Iterable[str], reason: str) -> None:
    """Write down that the bytes of these artifacts (SHA-256) are deleted, and why."""
    now = datetime.now(UTC)
    rows = [_row(sha256, now, reason) for sha256 in sorted(set(artifacts))]
    if rows:
        session.execute(insert(table_of(Expiry)), rows)


@dataclass(frozen=True, slots=True)
class Expired:
    """Artifacts whose bytes are gone on purpose, and rows that say so and are not as they were written."""

    artifacts: frozenset[str]
    findings: Sequence[Finding]


def expired(session: Session, artifacts: Sequence[str]) -> Expired:
    """Those of some artifacts whose bytes were deleted on purpose, and not made or read again since."""
    gone, findings = set[str](), list[Finding]()
    for start in range(0, len(artifacts), _CHUNK):
        of_chunk = Expiry.artifact_sha256.in_(artifacts[start : start + _CHUNK])
        rows = select(Expiry, Expiry.at >= last_used()).join(Artifact, Artifact.sha256 == Expiry.artifact_sha256)
        for row, holds in session.execute(rows.where(of_chunk).order_by(Expiry.id)).tuples():
            if own_hash(row_values(row)) != row.hash:
                name = f"expiry {row.id} of {row.artifact_sha256}"
                findings.append(Finding(None, name, Problem.CHANGED, "it does not match its hash"))
            elif holds:
                gone.add(row.artifact_sha256)
    return Expired(frozenset(gone), findings)


def last_used() -> ScalarSelect[datetime]:
    """When the last attempt ended that made or read an artifact."""
    ended = select(func.max(Attempt.ended_at)).join(AttemptArtifact, AttemptArtifact.attempt_id == Attempt.id)
    return ended.where(AttemptArtifact.artifact_sha256 == Artifact.sha256).correlate(Artifact).scalar_subquery()


def _row(sha256: str, at: datetime, reason: str) -> Values:
    row = stored(table_of(Expiry), {"artifact_sha256": sha256, "at": at, "reason": reason})
    return {**row, "hash": own_hash(row)}
