"""What was done to a run as a whole, and whether it may go on. Events never change, and are chained by run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.schema.column_types import stored
from db.schema.database import no_such_run
from db.schema.hashing import own_hash, run_hash
from db.schema.tables import RunEventRow, RunRow, row_values, table_of
from deepsound.canonical_json import Json


class EventKind(StrEnum):
    """What can be done to a run. A run without events, as a local one, is active."""

    SUBMITTED = "submitted"
    """Handed to workers; `details` are what was asked."""
    PAUSED = "paused"
    RESUMED = "resumed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    """Steps were reopened; written by `db.write.retries`. Whether the run may go on stays as it was."""
    BUDGET_SPENT = "budget_spent"


class RunState(StrEnum):
    """Whether workers may go on with a run."""

    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"


_STATES = {
    EventKind.SUBMITTED: RunState.ACTIVE,
    EventKind.RESUMED: RunState.ACTIVE,
    EventKind.PAUSED: RunState.PAUSED,
    EventKind.BUDGET_SPENT: RunState.PAUSED,
    EventKind.CANCELLED: RunState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One thing done to a run: when (UTC), by whom (user@host), why, and what exactly."""

    seq: int
    at: datetime
    kind: EventKind
    by: str
    reason: str | None
    details: Mapping[str, Json] = field(default_factory=dict[str, Json])


def record_event(
    session: Session,
    run_id: str,
    kind: EventKind,
    *,
    by: str,
    reason: str | None = None,
    details: Mapping[str, Json] | None = None,
) -> None:
    """Write down what is done to a run. Raises DeepSoundError (BAD_SETTINGS) where there is no such run."""
    run = locked_run(session, run_id)
    last = (
        select(RunEventRow.seq, RunEventRow.hash)
        .where(RunEventRow.run_id == run_id)
        .order_by(RunEventRow.seq.desc())
    )
    seq, previous = session.execute(last.limit(1)).tuples().one_or_none() or (0, run_hash(row_values(run)))
    row = stored(
        table_of(RunEventRow),
        {
            "run_id": run_id,
            "seq": seq + 1,
            "at": datetime.now(UTC),
            "kind": kind,
            "by": by,
            "reason": reason,
            "details": details or {},
            "previous_hash": previous,
        },
    )
    session.execute(insert(table_of(RunEventRow)), {**row, "hash": own_hash(row)})


def locked_run(session: Session, run_id: str) -> RunRow:
    """A run, locked against what others do to it. Raises DeepSoundError (BAD_SETTINGS: no such run)."""
    run = session.scalar(select(RunRow).where(RunRow.id == run_id).with_for_update())
    if run is None:
        raise no_such_run(session, run_id)
    return run


def run_state(session: Session, run_id: str) -> RunState:
    """Whether workers may go on with a run; ACTIVE for one nobody ever did anything to."""
    deciding = select(RunEventRow.kind).where(RunEventRow.run_id == run_id, RunEventRow.kind.in_([*_STATES]))
    kind = session.scalar(deciding.order_by(RunEventRow.seq.desc()).limit(1))
    return RunState.ACTIVE if kind is None else _STATES[EventKind(kind)]


def run_events(session: Session, run_id: str) -> list[RunEvent]:
    """All that was done to a run, oldest first."""
    rows = session.scalars(select(RunEventRow).where(RunEventRow.run_id == run_id).order_by(RunEventRow.seq))
    return [RunEvent(row.seq, row.at, EventKind(row.kind), row.by, row.reason, row.details) for row in rows]


def find_submission(session: Session, run_id: str) -> Mapping[str, Json] | None:
    """What was asked when the run was last submitted; None for a local run."""
    asked = select(RunEventRow.details).where(
        RunEventRow.run_id == run_id, RunEventRow.kind == EventKind.SUBMITTED.value
    )
    return session.scalar(asked.order_by(RunEventRow.seq.desc()).limit(1))
