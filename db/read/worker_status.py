"""Which workers are alive, and how long workers took. All times are the database's."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Float, cast, extract, func, select
from sqlalchemy.orm import Session

from db.schema.tables import AttemptRow, WorkerSessionRow
from db.state.lease_owner import is_dead
from db.state.lease_queue import database_clock, items_of_run, lease_seconds

NO_DEVICE: Final = "none"
"""The device of a worker session that only follows the run; its time is not counted."""


@dataclass(frozen=True, slots=True)
class LiveWorkerSession:
    """The session of a live worker; times are UTC by the database's clock."""

    id: int
    owner: str
    host: str
    device: str
    flow_run_id: str | None
    started_at: datetime
    seen_at: datetime


def live_worker_sessions(session: Session, run_id: str | None = None) -> list[LiveWorkerSession]:
    """Returns the live worker sessions of a run, or of all runs, oldest first.

    A session is live if it has not ended, its latest heartbeat is younger than a lease, and its process, where it
    runs on this host, exists.
    """
    oldest = database_clock(session, -lease_seconds())
    seen = select(WorkerSessionRow).where(WorkerSessionRow.ended_at.is_(None), WorkerSessionRow.seen_at > oldest)
    if run_id is not None:
        seen = seen.where(WorkerSessionRow.run_id == run_id)
    rows = session.scalars(seen.order_by(WorkerSessionRow.id))
    return [
        LiveWorkerSession(row.id, row.owner, row.host, row.device, row.flow_run_id, row.started_at, row.seen_at)
        for row in rows
        if not is_dead(row.owner)
    ]


def live_flow_runs(session: Session, run_id: str) -> frozenset[str]:
    """Returns the ids of Prefect's flow runs whose worker is alive."""
    live = live_worker_sessions(session, run_id)
    return frozenset(worker.flow_run_id for worker in live if worker.flow_run_id is not None)


def dead_flow_runs(session: Session, run_id: str) -> frozenset[str]:
    """Returns the ids of Prefect's flow runs whose worker began a session, did not end it, and is not alive."""
    unended = select(WorkerSessionRow.flow_run_id).where(
        WorkerSessionRow.run_id == run_id,
        WorkerSessionRow.ended_at.is_(None),
        WorkerSessionRow.flow_run_id.is_not(None),
    )
    return frozenset(map(str, session.scalars(unended))) - live_flow_runs(session, run_id)


def worker_seconds(session: Session, run_id: str) -> float:
    """Returns the sum of all workers' times on a run. A dead worker counts until its last heartbeat."""
    worked = select(func.sum(_elapsed(session))).where(
        WorkerSessionRow.run_id == run_id, WorkerSessionRow.device != NO_DEVICE
    )
    return float(session.scalar(worked) or 0.0)


def seconds_per_item(session: Session, run_id: str) -> float | None:
    """Returns the workers' time per ended item of a run; None if no item has ended."""
    ended = select(func.count(AttemptRow.item_id.distinct())).where(
        AttemptRow.item_id.in_(items_of_run(run_id)), AttemptRow.outcome.is_not(None)
    )
    items = session.scalar(ended) or 0
    return worker_seconds(session, run_id) / items if items else None


def _elapsed(session: Session) -> ColumnElement[float]:
    if session.get_bind().dialect.name == "postgresql":
        return cast(extract("epoch", WorkerSessionRow.seen_at - WorkerSessionRow.started_at), Float)
    return (func.julianday(WorkerSessionRow.seen_at) - func.julianday(WorkerSessionRow.started_at)) * 86400.0
