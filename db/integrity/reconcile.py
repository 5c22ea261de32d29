"""Checks that every item of a run is accounted for: its outcome and the reason, or that it is still open."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from db.integrity.verify import manifest_is_intact
from db.read.items import RunItem, run_items
from db.read.run_progress import open_items
from db.schema.records import AttemptStatus, WorkState
from db.schema.tables import AttemptRow, RunRow
from db.state.attempt_history import ItemState, item_states
from deepsound.errors import ErrorCode
from deepsound.pipeline import OutcomeKind

_CHUNK = 500


class ItemStatus(StrEnum):
    """The outcome of an item, or that it is open."""

    DONE = "done"
    NEEDS_REVIEW = "needs_review"
    REMOVED = "removed"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class ReconciledItem:
    """An item, its status, and the reason for it (None while it is open)."""

    item: RunItem
    status: ItemStatus
    reason: str | None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Every item of a run in order, and a sentence for each contradiction."""

    items: Sequence[ReconciledItem]
    problems: Sequence[str]

    @property
    def status_counts(self) -> Counter[ItemStatus]:
        """The number of items by status."""
        return Counter(each.status for each in self.items)

    @property
    def is_clean(self) -> bool:
        """Whether every item has ended, with a reason and without a contradiction."""
        return not self.problems and ItemStatus.OPEN not in self.status_counts


def reconcile_run(session: Session, run_id: str) -> Reconciliation | None:
    """Compares a run's manifest, attempts and open steps. Returns None for an unknown id."""
    run = session.get(RunRow, run_id)
    if run is None:
        return None
    run_list, open_ids = run_items(session, run_id), {item.id for item in open_items(session, run_id)}
    items: list[ReconciledItem] = []
    problems = [] if manifest_is_intact(session, run) else ["its items are not those it was registered with"]
    for start in range(0, len(run_list), _CHUNK):
        chunk = run_list[start : start + _CHUNK]
        ids = [item.id for item in chunk]
        states, reasons = item_states(session, ids), _reasons(session, ids)
        for item in chunk:
            items.append(_reconciled(item, states[item.id], reasons.get(item.id)))
            problems += _problems(items[-1], states[item.id], is_open=item.id in open_ids)
    return Reconciliation(items, problems)


def _reconciled(item: RunItem, state: ItemState, reason: str | None) -> ReconciledItem:
    last = state.attempts[-1] if state.attempts else None
    if last is None or last.outcome is None or WorkState.PENDING in state.states.values():
        return ReconciledItem(item, ItemStatus.OPEN, None)
    if last.outcome != OutcomeKind.FAILED.value:
        return ReconciledItem(item, ItemStatus(last.outcome), reason)
    status = ItemStatus.QUARANTINED if last.error_code == ErrorCode.QUARANTINED.value else ItemStatus.FAILED
    return ReconciledItem(item, status, last.error_message)


def _problems(reconciled: ReconciledItem, state: ItemState, *, is_open: bool) -> Iterator[str]:
    name = f"item {reconciled.item.id} ({reconciled.item.output_name})"
    if (reconciled.status is ItemStatus.OPEN) != is_open:
        in_work = "open" if is_open else "ended"
        yield f"{name} is {reconciled.status} by its attempts, but {in_work} in the table work"
    if reconciled.status is not ItemStatus.OPEN and not reconciled.reason:
        yield f"{name} is {reconciled.status} without a reason"
    results = Counter(
        (attempt.step, attempt.round) for attempt in state.attempts if attempt.status != AttemptStatus.FAILED.value
    )
    for (step, number), count in results.items():
        if count > 1:
            yield f"{name} has {count} results of step {step}, round {number}"


def _reasons(session: Session, item_ids: Sequence[int]) -> dict[int, str]:
    """Returns, by item id, the reason in the result that ended an item."""
    reused = aliased(AttemptRow)
    ending = func.coalesce(reused.result, AttemptRow.result, type_=AttemptRow.result.type)
    ended = (
        select(AttemptRow.item_id, ending)
        .outerjoin(reused, AttemptRow.reused_attempt_id == reused.id)
        .where(AttemptRow.item_id.in_(item_ids), AttemptRow.outcome.is_not(None))
        .order_by(AttemptRow.item_id, AttemptRow.seq)
    )
    return {
        item_id: str(ending["why"]) for item_id, ending in session.execute(ended) if ending and "why" in ending
    }
