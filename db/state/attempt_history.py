"""Derives an item's state from its attempts and retries: which attempts are current, and the state of each step.

A retry supersedes the first current attempt of its step and every attempt after that one. Superseded attempts stay
in the ledger, but no later step uses their results.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.schema.records import FIRST_STEP, AttemptStatus, StepRef, WorkState
from db.schema.tables import AttemptRow, RetryRow, table_of
from deepsound.pipeline import Step


class AttemptSummary(NamedTuple):
    """The columns of an attempt that its item's state depends on, under their names."""

    id: int
    item_id: int
    seq: int
    step: str
    round: int
    status: str
    next_step: str | None
    next_round: int | None
    outcome: str | None
    error_code: str | None
    error_message: str | None
    started_at: datetime
    ended_at: datetime

    @property
    def at(self) -> StepRef:
        """The step that was attempted."""
        return StepRef(Step(self.step), self.round)


class RetrySummary(NamedTuple):
    """The columns of a retry that its item's state depends on, under their names."""

    item_id: int
    after: int
    step: str
    round: int
    recompute: bool

    @property
    def at(self) -> StepRef:
        """The step that was opened again."""
        return StepRef(Step(self.step), self.round)


@dataclass(frozen=True, slots=True)
class ItemState:
    """The state of an item.

    `attempts`: the current ones, in order. `states`: of each step that was reached. `recompute`: open steps that
    must be computed again instead of reused.
    """

    attempts: Sequence[AttemptSummary]
    states: dict[StepRef, WorkState]
    recompute: frozenset[StepRef]


_A = TypeVar("_A", AttemptRow, AttemptSummary)
_R = TypeVar("_R", RetryRow, RetrySummary)

_ATTEMPT_COLUMNS = [table_of(AttemptRow).c[name] for name in AttemptSummary._fields]
_RETRY_COLUMNS = [table_of(RetryRow).c[name] for name in RetrySummary._fields]


def item_states(session: Session, item_ids: Sequence[int]) -> dict[int, ItemState]:
    """Returns the state of each item, by id."""
    attempts: dict[int, list[AttemptSummary]] = {item_id: [] for item_id in item_ids}
    retries: dict[int, list[RetrySummary]] = {item_id: [] for item_id in item_ids}
    of_items = select(*_ATTEMPT_COLUMNS).where(AttemptRow.item_id.in_(item_ids))
    for row in session.execute(of_items.order_by(AttemptRow.item_id, AttemptRow.seq)):
        attempt = AttemptSummary(*row)
        attempts[attempt.item_id].append(attempt)
    of_items = select(*_RETRY_COLUMNS).where(RetryRow.item_id.in_(item_ids))
    for row in session.execute(of_items.order_by(RetryRow.item_id, RetryRow.seq)):
        retry = RetrySummary(*row)
        retries[retry.item_id].append(retry)
    return {item_id: replay_attempts(made, retries[item_id]) for item_id, made in attempts.items()}


def chain_links(attempts: Iterable[_A], retries: Iterable[_R]) -> Iterator[_A | _R]:
    """Yields the attempts of one item, each followed by the retries that come after it. Both must be in order."""
    waiting = list(retries)
    for attempt in attempts:
        while waiting and waiting[0].after < attempt.seq:
            yield waiting.pop(0)
        yield attempt
    yield from waiting


def replay_attempts(attempts: Iterable[AttemptSummary], retries: Iterable[RetrySummary]) -> ItemState:
    """Returns the state of one item from its attempts and retries, both in order.

    After a retry its step is the only open one. A step to recompute remains so until it has a result again.
    """
    current: list[AttemptSummary] = []
    states = {FIRST_STEP: WorkState.PENDING}
    recompute: set[StepRef] = set()
    for link in chain_links(attempts, retries):
        if isinstance(link, RetrySummary):
            current = _before(link, current)
            states = {**_ended_steps(current), link.at: WorkState.PENDING}
            if link.recompute:
                recompute.add(link.at)
        else:
            current.append(link)
            _apply(link, states)
            if link.status != AttemptStatus.FAILED.value:
                recompute.discard(link.at)
    return ItemState(current, states, frozenset(recompute))


def replay_rows(attempts: Iterable[AttemptRow], retries: Iterable[RetryRow]) -> ItemState:
    """Returns the state of one item from its loaded rows."""
    attempt_summaries = (
        AttemptSummary(*(getattr(row, name) for name in AttemptSummary._fields)) for row in attempts
    )
    retry_summaries = (RetrySummary(*(getattr(row, name) for name in RetrySummary._fields)) for row in retries)
    return replay_attempts(attempt_summaries, retry_summaries)


def _before(retry: RetrySummary, attempts: Sequence[AttemptSummary]) -> list[AttemptSummary]:
    retried = (retry.step, retry.round)
    first = next((n for n, attempt in enumerate(attempts) if (attempt.step, attempt.round) == retried), None)
    return list(attempts[:first])


def _ended_steps(attempts: Iterable[AttemptSummary]) -> dict[StepRef, WorkState]:
    """Returns the states of ended steps; a failed step that is to be tried again has not ended."""
    states: dict[StepRef, WorkState] = {}
    for attempt in attempts:
        _apply(attempt, states)
    return {at: state for at, state in states.items() if state is not WorkState.PENDING}


def _apply(attempt: AttemptSummary, states: dict[StepRef, WorkState]) -> None:
    failed = attempt.status == AttemptStatus.FAILED.value
    states[attempt.at] = WorkState.FAILED if failed else WorkState.DONE
    if attempt.next_step is not None and attempt.next_round is not None:
        states[StepRef(Step(attempt.next_step), attempt.next_round)] = WorkState.PENDING
