"""Takes steps of a run back, to be done once more: what failed, or what an operator asks for.

A reopening is a new row: nothing that was recorded goes away, it only stands no longer. The to-do list of the
item is written anew; whoever held an older view of it can neither claim nor record a step of it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import translate

from sqlalchemy import ColumnElement, Select, exists, func, insert, or_, select
from sqlalchemy.orm import Session, aliased

from db.schema.column_types import Values, stored
from db.schema.hashing import retry_hash
from db.schema.records import AttemptStatus, StepRef, WorkState
from db.schema.tables import AttemptRow, ItemRow, RetryRow, ReviewRow, WorkRow, table_of
from db.state.lease_queue import database_clock, item_states, items_of_run, write_work
from db.write.run_events import EventKind, locked_run, record_event
from deepsound.canonical_json import Json
from deepsound.pipeline import Step

_CHUNK = 500
_ENDED = (WorkState.DONE.value, WorkState.FAILED.value)


@dataclass(frozen=True, slots=True)
class RetryRequest:
    """Who takes a step back, why, and whether the step is computed again or may reuse a result."""

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
    """Take steps back and open them again; returns the ids of the items, in order, and notes it as `retried`.

    Without `step`: what failed. With it: that step, really to be done again, wherever it has ended. `error`
    leaves items whose last attempt failed with this code, `pattern` those whose source, its last part or
    output name matches (`*`, `?`, `[...]`). Items a worker is at are left alone. Raises DeepSoundError
    (BAD_SETTINGS: no such run).
    """
    locked_run(session, run_id)
    busy = _busy(session, run_id)
    found = _ended_steps(session, run_id, step, error)
    named = None if pattern is None else _matching(session, run_id, pattern)
    targets = {
        item_id: at for item_id, at in found.items() if item_id not in busy and (named is None or item_id in named)
    }
    retry_steps(session, targets, RetryRequest(by, reason, recompute=step is not None))
    if targets:
        asked: dict[str, Json] = {"step": step, "error": error, "pattern": pattern, "items": len(targets)}
        record_event(session, run_id, EventKind.RETRIED, by=by, reason=reason, details=asked)
    return list(targets)


def retry_steps(session: Session, targets: Mapping[int, StepRef], request: RetryRequest) -> None:
    """Take back a step of each of some items, and all that followed it. No worker may be at them."""
    item_ids = list(targets)
    for start in range(0, len(item_ids), _CHUNK):
        chunk = item_ids[start : start + _CHUNK]
        ends = chain_ends(session, chunk)
        rows = [_row(ends[item_id], item_id, targets[item_id], request) for item_id in chunk]
        session.execute(insert(table_of(RetryRow)), rows)
        write_work(session, {item_id: each.states for item_id, each in item_states(session, chunk).items()})


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """How long an item's chain is, and the hash its next link follows."""

    attempts: int
    retries: int
    hash: str


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


def chain_ends(session: Session, item_ids: Sequence[int]) -> dict[int, ChainEnd]:
    """Where the chains of some items end. A review is their end until the reopening it leads to is written."""
    starts = session.execute(select(ItemRow.id, ItemRow.hash).where(ItemRow.id.in_(item_ids))).tuples()
    ends = {item_id: ChainEnd(0, 0, start) for item_id, start in starts}
    attempts = select(AttemptRow.item_id, AttemptRow.seq, AttemptRow.hash).where(AttemptRow.item_id.in_(item_ids))
    for item_id, seq, link in session.execute(attempts.order_by(AttemptRow.item_id, AttemptRow.seq)):
        ends[item_id] = ChainEnd(seq, 0, link)
    columns = (RetryRow.item_id, RetryRow.seq, RetryRow.after, RetryRow.hash)
    retries = select(*columns).where(RetryRow.item_id.in_(item_ids))
    for item_id, seq, after, link in session.execute(retries.order_by(RetryRow.item_id, RetryRow.seq)):
        last = ends[item_id]
        ends[item_id] = ChainEnd(last.attempts, seq, link if after == last.attempts else last.hash)
    reviews = select(ReviewRow.item_id, ReviewRow.previous_hash, ReviewRow.hash).where(
        ReviewRow.item_id.in_(item_ids)
    )
    for item_id, previous, link in session.execute(reviews):
        if previous == ends[item_id].hash:
            ends[item_id] = replace(ends[item_id], hash=link)
    return ends


def _busy(session: Session, run_id: str) -> set[int]:
    """Items that a worker is at. No other can come to be before this transaction ends."""
    open_rows = select(WorkRow.item_id).where(
        WorkRow.item_id.in_(items_of_run(run_id)), WorkRow.state.not_in(_ENDED)
    )
    untaken = or_(WorkRow.state == WorkState.PENDING.value, WorkRow.lease_until < database_clock(session))
    # A row that somebody else has in hand at this moment is somebody's work, so there is nothing to wait for.
    still = set(session.scalars(open_rows.where(untaken).with_for_update(skip_locked=True)))
    return set(session.scalars(open_rows)) - still


def _ended_steps(session: Session, run_id: str, step: Step | None, error: str | None) -> dict[int, StepRef]:
    """The step to take back of each item that has one, its first round where both have ended."""
    wanted: list[ColumnElement[bool]] = [WorkRow.item_id.in_(items_of_run(run_id)), WorkRow.state.in_(_ENDED)]
    wanted.append(WorkRow.state == WorkState.FAILED.value if step is None else WorkRow.step == step.value)
    if error is not None:
        wanted.append(WorkRow.item_id.in_(_ended_with(run_id, error)))
    columns = (WorkRow.item_id, WorkRow.step, func.min(WorkRow.round))
    rows = select(*columns).join(ItemRow, WorkRow.item_id == ItemRow.id).where(*wanted)
    grouped = rows.group_by(WorkRow.item_id, WorkRow.step, ItemRow.ordinal).order_by(ItemRow.ordinal)
    return {item_id: StepRef(Step(name), number) for item_id, name, number in session.execute(grouped)}


def _ended_with(run_id: str, error: str) -> Select[tuple[int]]:
    later = aliased(AttemptRow)
    return select(AttemptRow.item_id).where(
        AttemptRow.item_id.in_(items_of_run(run_id)),
        AttemptRow.status == AttemptStatus.FAILED.value,
        AttemptRow.error_code == error,
        ~exists().where(later.item_id == AttemptRow.item_id, later.seq > AttemptRow.seq),
    )


def _matching(session: Session, run_id: str, pattern: str) -> set[int]:
    rows = session.execute(
        select(ItemRow.id, ItemRow.source, ItemRow.output_name).where(ItemRow.run_id == run_id)
    ).tuples()
    fits = re.compile(translate(pattern)).match
    return {
        item_id for item_id, source, name in rows if fits(name) or fits(source) or fits(source.rpartition("/")[2])
    }
