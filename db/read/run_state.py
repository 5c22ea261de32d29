"""What was done to a run as a whole, and whether workers may work on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.schema.database import no_such_run
from db.schema.run_records import EventKind
from db.schema.tables import RunEventRow, RunRow
from deepsound.canonical_json import Json


class RunState(StrEnum):
    """Whether workers may work on a run."""

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
    """One event of a run: time (UTC), who caused it (user@host), why, and details that depend on the kind."""

    seq: int
    at: datetime
    kind: EventKind
    by: str
    reason: str | None
    details: Mapping[str, Json] = field(default_factory=dict[str, Json])


def lock_run(session: Session, run_id: str) -> RunRow:
    """Reads a run and locks its row until the transaction ends, so that its events and retries are serialized.

    Raises NoSuchRunError.
    """
    run = session.scalar(select(RunRow).where(RunRow.id == run_id).with_for_update())
    if run is None:
        raise no_such_run(session, run_id)
    return run


def run_state(session: Session, run_id: str) -> RunState:
    """Returns the state that the latest event gave a run; ACTIVE without events."""
    changes = select(RunEventRow.kind).where(RunEventRow.run_id == run_id, RunEventRow.kind.in_([*_STATES]))
    kind = session.scalar(changes.order_by(RunEventRow.seq.desc()).limit(1))
    return RunState.ACTIVE if kind is None else _STATES[EventKind(kind)]


def run_events(session: Session, run_id: str) -> list[RunEvent]:
    """Returns every event of a run, oldest first."""
    rows = session.scalars(select(RunEventRow).where(RunEventRow.run_id == run_id).order_by(RunEventRow.seq))
    return [RunEvent(row.seq, row.at, EventKind(row.kind), row.by, row.reason, row.details) for row in rows]


def find_submission(session: Session, run_id: str) -> Mapping[str, Json] | None:
    """Returns the options of a run's latest submission; None for a local run."""
    submitted = select(RunEventRow.details).where(
        RunEventRow.run_id == run_id, RunEventRow.kind == EventKind.SUBMITTED.value
    )
    return session.scalar(submitted.order_by(RunEventRow.seq.desc()).limit(1))
