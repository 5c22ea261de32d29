"""Which attempts of an item stand once reopenings took some back, and where that leaves its steps. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

from db.schema.records import FIRST_STEP, AttemptStatus, StepRef, WorkState
from db.schema.tables import AttemptRow, ReopeningRow
from deepsound.pipeline import Step


class MadeAttempt(NamedTuple):
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


class TakenBack(NamedTuple):
    """What a reopening says of its item's course: columns of the same names."""

    item_id: int
    after: int
    step: str
    round: int
    anew: bool


@dataclass(frozen=True, slots=True)
class ItemState:
    """`attempts` in order; the state of each step that was reached; steps to be really done again, not reused."""

    attempts: Sequence[MadeAttempt]
    states: dict[StepRef, WorkState]
    anew: frozenset[StepRef]


_A = TypeVar("_A", AttemptRow, MadeAttempt)
_R = TypeVar("_R", ReopeningRow, TakenBack)


def chain_links(attempts: Iterable[_A], reopenings: Iterable[_R]) -> Iterator[_A | _R]:
    """The chain of one item: its attempts, and each reopening after the attempt it names. Both in order."""
    waiting = list(reopenings)
    for attempt in attempts:
        while waiting and waiting[0].after < attempt.seq:
            yield waiting.pop(0)
        yield attempt
    yield from waiting


def replay_attempts(attempts: Iterable[MadeAttempt], reopenings: Iterable[TakenBack]) -> ItemState:
    """Where one item stands by its attempts and reopenings, both in order.

    A reopening takes back the first standing attempt of its step and all attempts after that one; its step is
    then the only one that is open. A step reopened `anew` stays so until it has a result again.
    """
    standing: list[MadeAttempt] = []
    states = {FIRST_STEP: WorkState.PENDING}
    anew: set[StepRef] = set()
    for link in chain_links(attempts, reopenings):
        if isinstance(link, TakenBack):
            at = StepRef(Step(link.step), link.round)
            standing = _before(link, standing)
            states = {**_settled(standing), at: WorkState.PENDING}
            if link.anew:
                anew.add(at)
        else:
            standing.append(link)
            _apply(link, states)
            if link.status != AttemptStatus.FAILED.value:
                anew.discard(link.at)
    return ItemState(standing, states, frozenset(anew))


def replay_rows(attempts: Iterable[AttemptRow], reopenings: Iterable[ReopeningRow]) -> ItemState:
    """The same of whole rows."""
    made = (MadeAttempt(*(getattr(row, name) for name in MadeAttempt._fields)) for row in attempts)
    back = (TakenBack(*(getattr(row, name) for name in TakenBack._fields)) for row in reopenings)
    return replay_attempts(made, back)


def _before(back: TakenBack, attempts: Sequence[MadeAttempt]) -> list[MadeAttempt]:
    reopened = (back.step, back.round)
    first = next((n for n, each in enumerate(attempts) if (each.step, each.round) == reopened), None)
    return list(attempts[:first])


def _settled(attempts: Iterable[MadeAttempt]) -> dict[StepRef, WorkState]:
    """Steps that have ended; one that is to be tried again has not."""
    states: dict[StepRef, WorkState] = {}
    for attempt in attempts:
        _apply(attempt, states)
    return {at: state for at, state in states.items() if state is not WorkState.PENDING}


def _apply(attempt: MadeAttempt, states: dict[StepRef, WorkState]) -> None:
    failed = attempt.status == AttemptStatus.FAILED.value
    states[attempt.at] = WorkState.FAILED if failed else WorkState.DONE
    if attempt.next_step is not None and attempt.next_round is not None:
        states[StepRef(Step(attempt.next_step), attempt.next_round)] = WorkState.PENDING
