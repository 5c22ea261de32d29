"""Records what is done to a whole run. Writes the table `run_event`; its rows are one hash chain per run."""

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.read.run_state import RunState, lock_run, run_events, run_state
from db.read.worker_status import worker_seconds
from db.schema.column_types import stored
from db.schema.hashing import own_hash, run_hash
from db.schema.run_records import EventKind
from db.schema.tables import RunEventRow, row_values, table_of
from deepsound.canonical_json import Json


def record_event(
    session: Session,
    run_id: str,
    kind: EventKind,
    *,
    by: str,
    reason: str | None = None,
    details: Mapping[str, Json] | None = None,
) -> None:
    """Inserts an event of a run; `by` is user@host. Raises NoSuchRunError."""
    run = lock_run(session, run_id)
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


def pause_if_budget_spent(session: Session, run_id: str, budget_hours: float, *, by: str) -> bool:
    """Pauses an active run whose workers spent its budget. Returns whether it was paused now.

    Each resumption after a spent budget grants it again: hours count from those recorded by the last
    `budget_spent` event, not from its time, since the clock of the machine that wrote it may be wrong. Raises
    NoSuchRunError.
    """
    if run_state(session, run_id) is not RunState.ACTIVE:
        return False
    spent = worker_seconds(session, run_id) / 3600
    before = [event.details for event in run_events(session, run_id) if event.kind is EventKind.BUDGET_SPENT]
    granted_from = before[-1].get("spent_hours") if before else 0.0
    if spent < (float(granted_from) if isinstance(granted_from, int | float) else 0.0) + budget_hours:
        return False
    details = {"spent_hours": round(spent, 3), "budget_gpu_hours": budget_hours}
    record_event(session, run_id, EventKind.BUDGET_SPENT, by=by, details=details)
    return True
