"""Accounts for every line of a run's list: how its video ended and why, or that it is still open."""

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
from db.state.attempt_history import ItemState
from db.state.lease_queue import item_states
from deepsound.errors import ErrorCode
from deepsound.pipeline import OutcomeKind

_CHUNK = 500


class ItemStatus(StrEnum):
    """What became of a video."""

    DONE = "done"
    NEEDS_REVIEW = "needs_review"
    REMOVED = "removed"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class ReconciledItem:
    """A line of the list and its status. `reason`: why it ended so; None while it is open."""

    item: RunItem
    status: ItemStatus
    reason: str | None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Every line of the list in order, and what does not add up, a sentence each."""

    items: Sequence[ReconciledItem]
    problems: Sequence[str]

    @property
    def status_counts(self) -> Counter[ItemStatus]:
        """How many videos met each."""
        return Counter(each.status for each in self.items)

    @property
    def is_clean(self) -> bool:
        """Everything has ended, for a reason, and adds up."""
        return not self.problems and ItemStatus.OPEN not in self.status_counts


def reconcile_run(session: Session, run_id: str) -> Reconciliation | None:
    """Hold a run's list against what is recorded; None if there is no such run."""
    run = session.get(RunRow, run_id)
    if run is None:
        return None
    listed, to_do = run_items(session, run_id), {item.id for item in open_items(session, run_id)}
    items: list[ReconciledItem] = []
    problems = [] if manifest_is_intact(session, run) else ["its list is not the one it was started with"]
    for start in range(0, len(listed), _CHUNK):
        chunk = listed[start : start + _CHUNK]
        ids = [item.id for item in chunk]
        stand_now, reasons = item_states(session, ids), _reasons(session, ids)
        for item in chunk:
            items.append(_reconciled(item, stand_now[item.id], reasons.get(item.id)))
            problems += _problems(items[-1], stand_now[item.id], is_to_do=item.id in to_do)
    return Reconciliation(items, problems)


def _reconciled(item: RunItem, standing: ItemState, why: str | None) -> ReconciledItem:
    last = standing.attempts[-1] if standing.attempts else None
    if last is None or last.outcome is None or WorkState.PENDING in standing.states.values():
        return ReconciledItem(item, ItemStatus.OPEN, None)
    if last.outcome != OutcomeKind.FAILED.value:
        return ReconciledItem(item, ItemStatus(last.outcome), why)
    status = ItemStatus.QUARANTINED if last.error_code == ErrorCode.QUARANTINED.value else ItemStatus.FAILED
    return ReconciledItem(item, status, last.error_message)


def _problems(reconciled: ReconciledItem, standing: ItemState, *, is_to_do: bool) -> Iterator[str]:
    name = f"item {reconciled.item.id} ({reconciled.item.output_name})"
    if (reconciled.status is ItemStatus.OPEN) != is_to_do:
        in_queue = "open" if is_to_do else "ended"
        yield f"{name} is {reconciled.status} by its attempts, and {in_queue} on the to-do list"
    if reconciled.status is not ItemStatus.OPEN and not reconciled.reason:
        yield f"{name} is {reconciled.status}, and nothing says why"
    done = Counter(
        (each.step, each.round) for each in standing.attempts if each.status != AttemptStatus.FAILED.value
    )
    for (step, number), times in done.items():
        if times > 1:
            yield f"{name} has {times} results of step {step}, round {number}"


def _reasons(session: Session, item_ids: Sequence[int]) -> dict[int, str]:
    """Why items ended as they did, in the words of the result that ended them."""
    maker = aliased(AttemptRow)
    result = func.coalesce(maker.result, AttemptRow.result, type_=AttemptRow.result.type)
    ended = (
        select(AttemptRow.item_id, result)
        .outerjoin(maker, AttemptRow.reused_attempt_id == maker.id)
        .where(AttemptRow.item_id.in_(item_ids), AttemptRow.outcome.is_not(None))
        .order_by(AttemptRow.item_id, AttemptRow.seq)
    )
    return {item_id: str(said["why"]) for item_id, said in session.execute(ended) if said and "why" in said}
