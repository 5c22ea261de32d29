"""Records attempts, and moves their item on in the same transaction.

Writes the tables `attempt`, `thought`, `decision`, `effect`, `attempt_artifact` and `attempt_model`.
"""

from collections.abc import Iterable

from sqlalchemy import bindparam, insert, select
from sqlalchemy.orm import Session

from db.schema.column_types import Values, in_utc
from db.schema.hashing import attempt_hash, digests
from db.schema.records import AttemptRecord, AttemptStatus, StepRef, WorkState
from db.schema.rows import RowsByTable, attempt_row, owned_rows, shared_rows
from db.schema.tables import ArtifactRow, AttemptRow, ItemRow, RetryRow, row_values, table_of
from db.state.lease_queue import close_step, open_step
from db.write.shared_rows import insert_shared
from deepsound.errors import LeaseLostError

_ATTEMPT, _RETRY = table_of(AttemptRow).c, table_of(RetryRow).c

# Every step of every video runs these, and building a statement costs more than running it.
_PAST_ATTEMPTS = (
    select(_ATTEMPT.step, _ATTEMPT.round, _ATTEMPT.hash)
    .where(_ATTEMPT.item_id == bindparam("item"))
    .order_by(_ATTEMPT.seq)
)
_LAST_RETRY = (
    select(_RETRY.hash)
    .where(_RETRY.item_id == bindparam("item"), _RETRY.after == bindparam("attempts"))
    .order_by(_RETRY.seq.desc())
    .limit(1)
)


def record_attempt(session: Session, record: AttemptRecord, owner: str) -> int:
    """Inserts a finished attempt with all its rows, closes its step and opens the next one. Returns its id.

    Only the holder of the step's lease may record it; recording the same attempt again returns the same id, for a
    commit whose answer was lost. Raises LeaseLostError if another worker holds the step.
    """
    if not close_step(session, record.item_id, record.at, owner, _state_after(record)):
        return _find_recorded(session, record)
    for kind, rows in shared_rows(record).items():
        insert_shared(session, kind, rows)
    owned = owned_rows(record)
    attempt = attempt_row(record) | _place_in_chain(session, record) | {"digests": _digests(session, owned)}
    reused = record.reused_attempt_id
    attempt["hash"] = attempt_hash(attempt, None if reused is None else _hashes(session, [reused])[reused])
    attempt_id = session.scalars(insert(table_of(AttemptRow)).returning(AttemptRow.id), attempt).one()
    for kind, rows in owned.items():
        session.execute(insert(table_of(kind)), [{"attempt_id": attempt_id, **row} for row in rows])
    if isinstance(record.followed_by, StepRef) and record.followed_by != record.at:
        open_step(session, record.item_id, record.followed_by)
    return attempt_id


def _state_after(record: AttemptRecord) -> WorkState:
    if record.followed_by == record.at:
        return WorkState.PENDING
    return WorkState.FAILED if record.status is AttemptStatus.FAILED else WorkState.DONE


def _find_recorded(session: Session, record: AttemptRecord) -> int:
    same = select(AttemptRow.id).where(
        AttemptRow.item_id == record.item_id,
        AttemptRow.step == record.at.step.value,
        AttemptRow.round == record.at.round,
        AttemptRow.started_at == in_utc(record.started_at),
        AttemptRow.ended_at == in_utc(record.ended_at),
        AttemptRow.host == record.execution_context.host,
    )
    attempt_id = session.scalar(same)
    if attempt_id is None:
        raise LeaseLostError(
            f"step {record.at.step}, round {record.at.round}, is no longer held by this worker",
            where=f"item {record.item_id}",
        )
    return attempt_id


def _place_in_chain(session: Session, record: AttemptRecord) -> Values:
    past = session.execute(_PAST_ATTEMPTS, {"item": record.item_id}).all()
    same_step = sum(step == record.at.step.value and number == record.at.round for step, number, _ in past)
    previous = session.scalar(_LAST_RETRY, {"item": record.item_id, "attempts": len(past)})
    if previous is None:
        start = select(ItemRow.hash).where(ItemRow.id == record.item_id)
        previous = past[-1][2] if past else session.scalars(start).one()
    return {"seq": len(past) + 1, "number": same_step + 1, "previous_hash": previous}


def _digests(session: Session, owned: RowsByTable) -> dict[str, str]:
    rows = {kind.__tablename__: of_kind for kind, of_kind in owned.items()}
    deciding = [effect["decision_attempt_id"] for effect in rows.get("effect", [])]
    hashes = _hashes(session, {attempt_id for attempt_id in deciding if attempt_id is not None})
    linked = {link["artifact_sha256"] for link in rows.get("attempt_artifact", [])}
    # Read back, since whoever inserted an artifact first determined its media type.
    artifacts = session.scalars(select(ArtifactRow).where(ArtifactRow.sha256.in_(linked))) if linked else ()
    return digests(rows, {artifact.sha256: row_values(artifact) for artifact in artifacts}, hashes)


def _hashes(session: Session, attempt_ids: Iterable[int]) -> dict[int, str]:
    ids = sorted(attempt_ids)
    if not ids:
        return {}
    found = session.execute(select(AttemptRow.id, AttemptRow.hash).where(AttemptRow.id.in_(ids)))
    return {row.id: row.hash for row in found}
