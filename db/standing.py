"""Which attempts of an item stand once reopenings took some back, and where that leaves its steps. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from db.records import FIRST_STEP, AttemptStatus, StepRef, WorkState
from db.schema import Attempt, Reopening
from deepsound.pipeline import Step


@dataclass(frozen=True, slots=True)
class Standing:
    """`attempts` in order; the state of each step that was reached; steps to be really done again, not reused."""

    attempts: Sequence[Attempt]
    states: dict[StepRef, WorkState]
    anew: frozenset[StepRef]


def links(attempts: Iterable[Attempt], reopenings: Iterable[Reopening]) -> Iterator[Attempt | Reopening]:
    """The chain of one item: its attempts, and each reopening after the attempt it names. Both in order."""
    waiting = list(reopenings)
    for attempt in attempts:
        while waiting and waiting[0].after < attempt.seq:
            yield waiting.pop(0)
        yield attempt
    yield from waiting


def stand(attempts: Iterable[Attempt], reopenings: Iterable[Reopening] = ()) -> Standing:
    """Where one item stands by its attempts and reopenings, both in order.

    A reopening takes back the first standing attempt of its step and all attempts after that one; its step is
    then the only one that is open. A step reopened `anew` stays so until it has a result again.
    """
    standing: list[Attempt] = []
    states = {FIRST_STEP: WorkState.PENDING}
    anew: set[StepRef] = set()
    for link in links(attempts, reopenings):
        at = StepRef(Step(link.step), link.round)
        if isinstance(link, Reopening):
            standing = _before(at, standing)
            states = {**_settled(standing), at: WorkState.PENDING}
            anew |= {at} if link.anew else set()
        else:
            standing.append(link)
            states |= {at: _state(link), **_opened(link)}
            anew -= set() if link.status == AttemptStatus.FAILED.value else {at}
    return Standing(standing, states, frozenset(anew))


def states_after(attempts: Iterable[Attempt], reopenings: Iterable[Reopening] = ()) -> dict[StepRef, WorkState]:
    """Where the steps of one item stand by its attempts and reopenings, both in order."""
    return stand(attempts, reopenings).states


def _before(at: StepRef, attempts: Sequence[Attempt]) -> list[Attempt]:
    first = next((n for n, each in enumerate(attempts) if (each.step, each.round) == (at.step, at.round)), None)
    return list(attempts[:first])


def _settled(attempts: Iterable[Attempt]) -> dict[StepRef, WorkState]:
    """Steps that have ended; one that is to be tried again has not."""
    states: dict[StepRef, WorkState] = {}
    for attempt in attempts:
        states |= {StepRef(Step(attempt.step), attempt.round): _state(attempt), **_opened(attempt)}
    return {at: state for at, state in states.items() if state is not WorkState.PENDING}


def _state(attempt: Attempt) -> WorkState:
    return WorkState.FAILED if attempt.status == AttemptStatus.FAILED.value else WorkState.DONE


def _opened(attempt: Attempt) -> dict[StepRef, WorkState]:
    if attempt.next_step is None or attempt.next_round is None:
        return {}
    return {StepRef(Step(attempt.next_step), attempt.next_round): WorkState.PENDING}
