"""Workers at work: who is on which run, since when, and when last seen. All by the database's clock."""

import os
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final

from sqlalchemy import ColumnElement, Float, and_, cast, extract, func, insert, select, update
from sqlalchemy.orm import Session

from db.schema.records import ExecutionContext, WorkState
from db.schema.tables import AttemptRow, WorkerSessionRow, WorkRow, table_of
from db.state.lease_owner import is_dead
from db.state.lease_queue import database_clock, items_of_run
from deepsound.errors import BadSettingsError

NO_DEVICE: Final = "none"
"""The device of a shift that only follows what others do; its time is not counted."""

_LEASE_SECONDS: Final = 60.0


@cache
def lease_seconds() -> float:
    """How long a step and a shift are a worker's without a heartbeat: 60, or DEEPSOUND_LEASE_SECONDS.

    The same for all who share a ledger. Raises DeepSoundError (BAD_SETTINGS).
    """
    asked = os.environ.get("DEEPSOUND_LEASE_SECONDS") or str(_LEASE_SECONDS)
    try:
        seconds = float(asked)
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds < float("inf"):
        raise BadSettingsError(
            f"{asked!r} is no number of seconds from 0.5 up",
            where="DEEPSOUND_LEASE_SECONDS",
            remedy="unset it, or set it to the same number for every worker",
        )
    return seconds


@dataclass(frozen=True, slots=True)
class LiveWorkerSession:
    """A worker at work; times are UTC by the database's clock."""

    id: int
    owner: str
    host: str
    device: str
    flow_run_id: str | None
    started_at: datetime
    seen_at: datetime


def begin_worker_session(
    session: Session, run_id: str, owner: str, context: ExecutionContext, flow_run_id: str | None
) -> int:
    """Enter a worker that starts on a run. Returns the shift's id."""
    now = database_clock(session)
    row = {"run_id": run_id, "owner": owner, "host": context.host, "device": context.device}
    entered = insert(table_of(WorkerSessionRow)).values(
        **row, flow_run_id=flow_run_id, started_at=now, seen_at=now
    )
    return session.scalars(entered.returning(table_of(WorkerSessionRow).c.id)).one()


def record_heartbeat(session: Session, shift_id: int, owner: str) -> None:
    """The worker is seen alive: its shift, and every lease it holds, are good for another while."""
    shift, work = table_of(WorkerSessionRow), table_of(WorkRow)
    session.execute(update(shift).where(shift.c.id == shift_id).values(seen_at=database_clock(session)))
    until = database_clock(session, lease_seconds())
    session.execute(update(work).where(_held_by(owner)).values(lease_until=until))


def end_worker_session(session: Session, shift_id: int, owner: str) -> None:
    """The worker leaves in order: what it still holds of the run is open again."""
    shift, work, now = table_of(WorkerSessionRow), table_of(WorkRow), database_clock(session)
    ended = update(shift).where(shift.c.id == shift_id).values(seen_at=now, ended_at=now)
    run_id = session.scalars(ended.returning(shift.c.run_id)).one()
    open_again = {"state": WorkState.PENDING.value, "lease_owner": None, "lease_until": None}
    of_run = WorkRow.item_id.in_(items_of_run(run_id))
    session.execute(update(work).where(_held_by(owner), of_run).values(open_again))


def _held_by(owner: str) -> ColumnElement[bool]:
    return and_(WorkRow.lease_owner == owner, WorkRow.state == WorkState.RUNNING.value)


def live_worker_sessions(session: Session, run_id: str | None = None) -> list[LiveWorkerSession]:
    """Who is at work on a run, or on any: seen within the length of a lease, not known to be gone. By age."""
    lately = database_clock(session, -lease_seconds())
    seen = select(WorkerSessionRow).where(WorkerSessionRow.ended_at.is_(None), WorkerSessionRow.seen_at > lately)
    if run_id is not None:
        seen = seen.where(WorkerSessionRow.run_id == run_id)
    rows = session.scalars(seen.order_by(WorkerSessionRow.id))
    return [
        LiveWorkerSession(row.id, row.owner, row.host, row.device, row.flow_run_id, row.started_at, row.seen_at)
        for row in rows
        if not is_dead(row.owner)
    ]


def live_flow_runs(session: Session, run_id: str) -> frozenset[str]:
    """Ids of Prefect's flow runs that a worker is at work on."""
    shifts = live_worker_sessions(session, run_id)
    return frozenset(shift.flow_run_id for shift in shifts if shift.flow_run_id is not None)


def dead_flow_runs(session: Session, run_id: str) -> frozenset[str]:
    """Ids of Prefect's flow runs whose worker was at work, did not leave, and is no longer seen."""
    entered = WorkerSessionRow.flow_run_id.is_not(None)
    unended = select(WorkerSessionRow.flow_run_id).where(
        WorkerSessionRow.run_id == run_id, WorkerSessionRow.ended_at.is_(None), entered
    )
    return frozenset(map(str, session.scalars(unended))) - live_flow_runs(session, run_id)


def worker_seconds(session: Session, run_id: str) -> float:
    """How long workers were at work on a run, all of them together; a vanished one until it was last seen."""
    worked = select(func.sum(_elapsed(session))).where(
        WorkerSessionRow.run_id == run_id, WorkerSessionRow.device != NO_DEVICE
    )
    return float(session.scalar(worked) or 0.0)


def seconds_per_item(session: Session, run_id: str) -> float | None:
    """How long a worker of this run takes for one of its videos, by all that ended so far; None: none did."""
    ended = select(func.count(AttemptRow.item_id.distinct())).where(
        AttemptRow.item_id.in_(items_of_run(run_id)), AttemptRow.outcome.is_not(None)
    )
    videos = session.scalar(ended) or 0
    return worker_seconds(session, run_id) / videos if videos else None


def _elapsed(session: Session) -> ColumnElement[float]:
    if session.get_bind().dialect.name == "postgresql":
        return cast(extract("epoch", WorkerSessionRow.seen_at - WorkerSessionRow.started_at), Float)
    return (func.julianday(WorkerSessionRow.seen_at) - func.julianday(WorkerSessionRow.started_at)) * 86400.0
