"""Opens steps again: what failed, or what an operator names. Writes the table `retry`.

A retry is a new row. It supersedes the first current attempt of its step and every attempt after it; their rows
remain. The item's rows in `work` are replaced, so a worker that does not know of the retry can neither claim nor
record a step of the item.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import translate

from sqlalchemy import ColumnElement, Select, exists, func, insert, or_, select
from sqlalchemy.orm import Session, aliased

from db.read.hash_chains import ChainEnd, chain_ends
from db.read.run_state import lock_run
from db.schema.column_types import Values, stored
from db.schema.hashing import retry_hash
from db.schema.records import AttemptStatus, StepRef, WorkState
from db.schema.run_records import EventKind
from db.schema.tables import AttemptRow, ItemRow, RetryRow, WorkRow, table_of
from db.state.attempt_history import item_states
from db.state.lease_queue import database_clock, items_of_run, write_work
from db.write.run_events import record_event
from deepsound.canonical_json import Json
from deepsound.pipeline import Step

_CHUNK = 500
_ENDED = (WorkState.DONE.value, WorkState.FAILED.value)


@dataclass(frozen=True, slots=True)
class RetryRequest:
    """Who retries a step (user@host), why, and whether it is computed again or may reuse a result."""

    by: str
    reason: str | None
    recompute: bool


def retry_items(
    session: Session,
    run_id: str,
    *,
    step: Step | None = None,
    error: str | None = None,
    pattern: str | None = None,
    by: str,
    reason: str | None = None,
) -> list[int]:
    """Retries steps of a run, records the event `retried`, and returns the ids of the items, in order.

    Without `step`, retries what failed. With it, retries and recomputes that step wherever it has ended. `error`
    selects items whose last attempt failed with this code; `pattern` those whose source, its last part or output
    name matches (`*`, `?`, `[...]`). Skips items that a worker holds. Raises NoSuchRunError.
    """
    lock_run(session, run_id)
    held = _held_items(session, run_id)
    ended = _ended_steps(session, run_id, step, error)
    named = None if pattern is None else _matching_items(session, run_id, pattern)
    targets = {
        item_id: at for item_id, at in ended.items() if item_id not in held and (named is None or item_id in named)
    }
    retry_steps(session, targets, RetryRequest(by, reason, recompute=step is not None))
    if targets:
        details: dict[str, Json] = {"step": step, "error": error, "pattern": pattern, "items": len(targets)}
        record_event(session, run_id, EventKind.RETRIED, by=by, reason=reason, details=details)
    return list(targets)


def retry_steps(session: Session, targets: Mapping[int, StepRef], request: RetryRequest) -> None:
    """Inserts a retry of one step for each item, and replaces the items' work. No worker may hold the items."""
    item_ids = list(targets)
    for start in range(0, len(item_ids), _CHUNK):
        chunk = item_ids[start : start + _CHUNK]
        ends = chain_ends(session, chunk)
        rows = [_row(ends[item_id], item_id, targets[item_id], request) for item_id in chunk]
        session.execute(insert(table_of(RetryRow)), rows)
        write_work(session, {item_id: item.states for item_id, item in item_states(session, chunk).items()})


def _row(end: ChainEnd, item_id: int, at: StepRef, request: RetryRequest) -> Values:
    row = stored(
        table_of(RetryRow),
        {
            "item_id": item_id,
            "seq": end.retries + 1,
            "after": end.attempts,
            "step": at.step,
            "round": at.round,
            "recompute": request.recompute,
            "at": datetime.now(UTC),
            "by": request.by,
            "reason": request.reason,
            "previous_hash": end.hash,
        },
    )
    return {**row, "hash": retry_hash(row)}


def _held_items(session: Session, run_id: str) -> set[int]:
    """Returns the items whose open step a worker holds; no other can be claimed before the transaction ends."""
    open_rows = select(WorkRow.item_id).where(
        WorkRow.item_id.in_(items_of_run(run_id)), WorkRow.state.not_in(_ENDED)
    )
    is_free = or_(WorkRow.state == WorkState.PENDING.value, WorkRow.lease_until < database_clock(session))
    # Skips rows that another transaction has locked: a worker claims or records them at this moment.
    free = set(session.scalars(open_rows.where(is_free).with_for_update(skip_locked=True)))
    return set(session.scalars(open_rows)) - free


def _ended_steps(session: Session, run_id: str, step: Step | None, error: str | None) -> dict[int, StepRef]:
    """Returns the step to retry of each item that has one; its first round if both rounds have ended."""
    wanted: list[ColumnElement[bool]] = [WorkRow.item_id.in_(items_of_run(run_id)), WorkRow.state.in_(_ENDED)]
    wanted.append(WorkRow.state == WorkState.FAILED.value if step is None else WorkRow.step == step.value)
    if error is not None:
        wanted.append(WorkRow.item_id.in_(_items_that_failed_with(run_id, error)))
    columns = (WorkRow.item_id, WorkRow.step, func.min(WorkRow.round))
    rows = select(*columns).join(ItemRow, WorkRow.item_id == ItemRow.id).where(*wanted)
    grouped = rows.group_by(WorkRow.item_id, WorkRow.step, ItemRow.ordinal).order_by(ItemRow.ordinal)
    return {item_id: StepRef(Step(name), number) for item_id, name, number in session.execute(grouped)}


def _items_that_failed_with(run_id: str, error: str) -> Select[tuple[int]]:
    later = aliased(AttemptRow)
    return select(AttemptRow.item_id).where(
        AttemptRow.item_id.in_(items_of_run(run_id)),
        AttemptRow.status == AttemptStatus.FAILED.value,
        AttemptRow.error_code == error,
        ~exists().where(later.item_id == AttemptRow.item_id, later.seq > AttemptRow.seq),
    )


def _matching_items(session: Session, run_id: str, pattern: str) -> set[int]:
    rows = session.execute(
        select(ItemRow.id, ItemRow.source, ItemRow.output_name).where(ItemRow.run_id == run_id)
    ).tuples()
    fits = re.compile(translate(pattern)).match
    return {
        item_id for item_id, source, name in rows if fits(name) or fits(source) or fits(source.rpartition("/")[2])
    }
