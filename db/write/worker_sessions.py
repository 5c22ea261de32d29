"""Begins, renews and ends worker sessions, by the database's clock. Writes the table `worker_session`.

The heartbeat and the end of a session are its only columns that change.
"""

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from db.schema.records import ExecutionContext
from db.schema.tables import WorkerSessionRow, table_of
from db.state.lease_queue import database_clock, release_leases, renew_leases


def begin_worker_session(
    session: Session, run_id: str, owner: str, context: ExecutionContext, flow_run_id: str | None
) -> int:
    """Inserts the session of a worker that begins to work on a run. Returns its id."""
    now, table = database_clock(session), table_of(WorkerSessionRow)
    row = {"run_id": run_id, "owner": owner, "host": context.host, "device": context.device}
    begun = insert(table).values(**row, flow_run_id=flow_run_id, started_at=now, seen_at=now)
    return session.scalars(begun.returning(table.c.id)).one()


def record_heartbeat(session: Session, session_id: int, owner: str) -> None:
    """Records that a worker is alive, and renews every lease it holds."""
    table = table_of(WorkerSessionRow)
    session.execute(update(table).where(table.c.id == session_id).values(seen_at=database_clock(session)))
    renew_leases(session, owner)


def end_worker_session(session: Session, session_id: int, owner: str) -> None:
    """Records that a worker ended its work on a run, and opens the steps of the run that it still holds."""
    table, now = table_of(WorkerSessionRow), database_clock(session)
    ended = update(table).where(table.c.id == session_id).values(seen_at=now, ended_at=now)
    run_id = session.scalars(ended.returning(table.c.run_id)).one()
    release_leases(session, run_id, owner)
