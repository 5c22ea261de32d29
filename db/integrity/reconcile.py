"""Accounts for every line of a run's list: how its video ended and why, or that it is still open."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from db.integrity.verify import has_its_list
from db.read.items import RunItem, run_items
from db.read.run_progress import open_items
from db.schema.records import AttemptStatus, WorkState
from db.schema.tables import AttemptRow, RunRow
from db.state.attempt_history import ItemState
from db.state.lease_queue import item_states
from deepsound.errors import ErrorCode
from deepsound.pipeline import OutcomeKind

_CHUNK = 500


class Fate(StrEnum):
    """What became of a video."""

    DONE = "done"
    NEEDS_REVIEW = "needs_review"
    REMOVED = "removed"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Account:
    """A line of the list and its fate. `reason`: why it ended so; None while it is open."""

    item: RunItem
    fate: Fate
    reason: str | None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Every line of the list in order, and what does not add up, a sentence each."""

    accounts: Sequence[Account]
    problems: Sequence[str]

    @property
    def fates(self) -> Counter[Fate]:
        """How many videos met each."""
        return Counter(account.fate for account in self.accounts)

    @property
    def is_clean(self) -> bool:
        """Everything has ended, for a reason, and adds up."""
        return not self.problems and Fate.OPEN not in self.fates


def reconcile_run(session: Session, run_id: str) -> Reconciliation | None:
    """Hold a run's list against what is recorded; None if there is no such run."""
    run = session.get(RunRow, run_id)
    if run is None:
        return None
    items, to_do = run_items(session, run_id), {item.id for item in open_items(session, run_id)}
    accounts: list[Account] = []
    problems = [] if has_its_list(session, run) else ["its list is not the one it was started with"]
    for start in range(0, len(items), _CHUNK):
        chunk = items[start : start + _CHUNK]
        ids = [item.id for item in chunk]
        stand_now, reasons = item_states(session, ids), _reasons(session, ids)
        for item in chunk:
            accounts.append(_account(item, stand_now[item.id], reasons.get(item.id)))
            problems += _problems(accounts[-1], stand_now[item.id], is_to_do=item.id in to_do)
    return Reconciliation(accounts, problems)


def _account(item: RunItem, standing: ItemState, why: str | None) -> Account:
    last = standing.attempts[-1] if standing.attempts else None
    if last is None or last.outcome is None or WorkState.PENDING in standing.states.values():
        return Account(item, Fate.OPEN, None)
    if last.outcome != OutcomeKind.FAILED.value:
        return Account(item, Fate(last.outcome), why)
    fate = Fate.QUARANTINED if last.error_code == ErrorCode.QUARANTINED.value else Fate.FAILED
    return Account(item, fate, last.error_message)


def _problems(account: Account, standing: ItemState, *, is_to_do: bool) -> Iterator[str]:
    name = f"item {account.item.id} ({account.item.output_name})"
    if (account.fate is Fate.OPEN) != is_to_do:
        yield f"{name} is {account.fate} by its attempts, and {'open' if is_to_do else 'ended'} on the to-do list"
    if account.fate is not Fate.OPEN and not account.reason:
        yield f"{name} is {account.fate}, and nothing says why"
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
