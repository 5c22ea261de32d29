"""Records that retention deletes the bytes of artifacts, before it does, so that audits don't report them missing.

Writes the table `expiry`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import insert
from sqlalchemy.orm import Session

from db.schema.column_types import Values, stored
from db.schema.hashing import own_hash
from db.schema.tables import ExpiryRow, table_of


def record_expiry(session: Session, artifacts: Iterable[str], reason: str) -> None:
    """Inserts an expiry for each artifact (SHA-256)."""
    now = datetime.now(UTC)
    rows = [_row(sha256, now, reason) for sha256 in sorted(set(artifacts))]
    if rows:
        session.execute(insert(table_of(ExpiryRow)), rows)


def _row(sha256: str, at: datetime, reason: str) -> Values:
    row = stored(table_of(ExpiryRow), {"artifact_sha256": sha256, "at": at, "reason": reason})
    return {**row, "hash": own_hash(row)}
