"""Reads runs and their items: as registered, and summarized by outcome and steps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.schema.records import AttemptStatus, WorkState
from db.schema.tables import ItemRow, RunRow
from db.state.attempt_history import AttemptSummary, ItemState, item_states
from deepsound.canonical_json import Json
from deepsound.pipeline import OutcomeKind, Step

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class RunItem:
    """A line of a run's manifest as it was registered."""

    id: int
    source: str
    output_name: str
    overrides: Mapping[str, Json]
    video_sha256: str | None


@dataclass(frozen=True, slots=True)
class RegisteredRun:
    """A registered run: its frozen settings."""

    settings: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class StepTotals:
    """The current attempts of one step of an item: their number, whether the last was reused, total seconds."""

    step: Step
    attempts: int
    is_reused: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class ItemSummary:
    """The outcome of an item (None: still open), the error of its last attempt, and its steps."""

    item: RunItem
    outcome: OutcomeKind | None
    error_code: str | None
    error: str | None
    steps: tuple[StepTotals, ...]


def find_run(session: Session, run_id: str) -> RegisteredRun | None:
    """Returns a run, or None for an unknown id."""
    run = session.get(RunRow, run_id)
    return None if run is None else RegisteredRun(run.settings)


def run_ids(session: Session) -> list[str]:
    """Returns the ids of all runs, oldest first."""
    return list(session.scalars(select(RunRow.id).order_by(RunRow.id)))


def run_items(session: Session, run_id: str, ids: Sequence[int] | None = None) -> list[RunItem]:
    """Returns items of a run in order: those with the given ids, or all."""
    query = select(ItemRow).where(ItemRow.run_id == run_id).order_by(ItemRow.ordinal)
    if ids is None:
        return [_item(row) for row in session.scalars(query)]
    chunks = (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
    return [_item(row) for chunk in chunks for row in session.scalars(query.where(ItemRow.id.in_(chunk)))]


def item_summaries(session: Session, run_id: str) -> list[ItemSummary]:
    """Returns a summary of every item of a run, in order. Superseded attempts do not count."""
    items = run_items(session, run_id)
    states: dict[int, ItemState] = {}
    for start in range(0, len(items), _CHUNK):
        states |= item_states(session, [item.id for item in items[start : start + _CHUNK]])
    return [_summary(item, states[item.id]) for item in items]


def _item(row: ItemRow) -> RunItem:
    return RunItem(row.id, row.source, row.output_name, row.overrides, row.video_sha256)


def _summary(item: RunItem, state: ItemState) -> ItemSummary:
    last = state.attempts[-1] if state.attempts else None
    has_ended = WorkState.PENDING not in state.states.values()
    return ItemSummary(
        item=item,
        outcome=OutcomeKind(last.outcome) if has_ended and last and last.outcome else None,
        error_code=last.error_code if last else None,
        error=last.error_message if last else None,
        steps=tuple(_totals(state.attempts)),
    )


def _totals(attempts: Iterable[AttemptSummary]) -> Iterable[StepTotals]:
    of_step: dict[Step, list[AttemptSummary]] = {}
    for attempt in attempts:
        of_step.setdefault(Step(attempt.step), []).append(attempt)
    for step, tries in of_step.items():
        yield StepTotals(
            step=step,
            attempts=len(tries),
            is_reused=tries[-1].status == AttemptStatus.REUSED.value,
            seconds=sum((attempt.ended_at - attempt.started_at).total_seconds() for attempt in tries),
        )
