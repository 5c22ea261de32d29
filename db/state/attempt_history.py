"""Which attempts of an item stand once retries took some back, and where that leaves its steps. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

from db.schema.records import FIRST_STEP, AttemptStatus, StepRef, WorkState
from db.schema.tables import AttemptRow, RetryRow
from deepsound.pipeline import Step


class AttemptSummary(NamedTuple):
    """What an attempt says of its item's course: its columns without words and results, of the same names."""

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
        """The step it was made at."""
        return StepRef(Step(self.step), self.round)


class RetrySummary(NamedTuple):
    """What a reopening says of its item's course: columns of the same names."""

    item_id: int
    after: int
    step: str
    round: int
    recompute: bool


@dataclass(frozen=True, slots=True)
class ItemState:
    """`attempts` in order; the state of each step that was reached; steps to be really done again, not reused."""

    attempts: Sequence[AttemptSummary]
    states: dict[StepRef, WorkState]
    recompute: frozenset[StepRef]


_A = TypeVar("_A", AttemptRow, AttemptSummary)
_R = TypeVar("_R", RetryRow, RetrySummary)


def chain_links(attempts: Iterable[_A], retries: Iterable[_R]) -> Iterator[_A | _R]:
    """The chain of one item: its attempts, and each reopening after the attempt it names. Both in order."""
    waiting = list(retries)
    for attempt in attempts:
        while waiting and waiting[0].after < attempt.seq:
            yield waiting.pop(0)
        yield attempt
    yield from waiting


def replay_attempts(attempts: Iterable[AttemptSummary], retries: Iterable[RetrySummary]) -> ItemState:
    """Where one item stands by its attempts and retries, both in order.

    A reopening takes back the first standing attempt of its step and all attempts after that one; its step is
    then the only one that is open. A step reopened `recompute` stays so until it has a result again.
    """
    standing: list[AttemptSummary] = []
    states = {FIRST_STEP: WorkState.PENDING}
    recompute: set[StepRef] = set()
    for link in chain_links(attempts, retries):
        if isinstance(link, RetrySummary):
            at = StepRef(Step(link.step), link.round)
            standing = _before(link, standing)
            states = {**_settled(standing), at: WorkState.PENDING}
            if link.recompute:
                recompute.add(at)
        else:
            standing.append(link)
            _apply(link, states)
            if link.status != AttemptStatus.FAILED.value:
                recompute.discard(link.at)
    return ItemState(standing, states, frozenset(recompute))


def replay_rows(attempts: Iterable[AttemptRow], retries: Iterable[RetryRow]) -> ItemState:
    """The same of whole rows."""
    made = (AttemptSummary(*(getattr(row, name) for name in AttemptSummary._fields)) for row in attempts)
    back = (RetrySummary(*(getattr(row, name) for name in RetrySummary._fields)) for row in retries)
    return replay_attempts(made, back)


def _before(back: RetrySummary, attempts: Sequence[AttemptSummary]) -> list[AttemptSummary]:
    reopened = (back.step, back.round)
    first = next((n for n, each in enumerate(attempts) if (each.step, each.round) == reopened), None)
    return list(attempts[:first])


def _settled(attempts: Iterable[AttemptSummary]) -> dict[StepRef, WorkState]:
    """Steps that have ended; one that is to be tried again has not."""
    states: dict[StepRef, WorkState] = {}
    for attempt in attempts:
        _apply(attempt, states)
    return {at: state for at, state in states.items() if state is not WorkState.PENDING}


def _apply(attempt: AttemptSummary, states: dict[StepRef, WorkState]) -> None:
    failed = attempt.status == AttemptStatus.FAILED.value
    states[attempt.at] = WorkState.FAILED if failed else WorkState.DONE
    if attempt.next_step is not None and attempt.next_round is not None:
        states[StepRef(Step(attempt.next_step), attempt.next_round)] = WorkState.PENDING
