"""Runs and their items read back: for workers that take them up, and for the report of what became of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.schema.records import AttemptStatus, WorkState
from db.schema.tables import ItemRow, RunRow
from db.state.attempt_history import AttemptSummary, ItemState
from db.state.lease_queue import item_states
from deepsound.canonical_json import Json
from deepsound.pipeline import OutcomeKind, Step

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class RunItem:
    """A line of a run's list as it was registered."""

    id: int
    source: str
    output_name: str
    overrides: Mapping[str, Json]
    video_sha256: str | None


@dataclass(frozen=True, slots=True)
class RegisteredRun:
    """A run's frozen settings."""

    settings: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class StepTotals:
    """All standing attempts of one step of an item: how many, whether the last was reused, seconds in all."""

    step: Step
    attempts: int
    is_reused: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class ItemSummary:
    """What became of an item. `outcome` None: still open. `error` is the one line of its last failure."""

    item: RunItem
    outcome: OutcomeKind | None
    error_code: str | None
    error: str | None
    steps: tuple[StepTotals, ...]


def find_run(session: Session, run_id: str) -> RegisteredRun | None:
    """A run by its id; None if there is no such run."""
    run = session.get(RunRow, run_id)
    return None if run is None else RegisteredRun(run.settings)


def run_ids(session: Session) -> list[str]:
    """Every run, oldest first."""
    return list(session.scalars(select(RunRow.id).order_by(RunRow.id)))


def run_items(session: Session, run_id: str, ids: Sequence[int] | None = None) -> list[RunItem]:
    """Items of a run in order: those named, or all."""
    asked = select(ItemRow).where(ItemRow.run_id == run_id).order_by(ItemRow.ordinal)
    if ids is None:
        return [_item(row) for row in session.scalars(asked)]
    chunks = (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
    return [_item(row) for chunk in chunks for row in session.scalars(asked.where(ItemRow.id.in_(chunk)))]


def item_summaries(session: Session, run_id: str) -> list[ItemSummary]:
    """Every item of a run in order, with what became of it. Attempts that were taken back do not count."""
    items = run_items(session, run_id)
    stand_now: dict[int, ItemState] = {}
    for start in range(0, len(items), _CHUNK):
        stand_now |= item_states(session, [item.id for item in items[start : start + _CHUNK]])
    return [_end(item, stand_now[item.id]) for item in items]


def _item(row: ItemRow) -> RunItem:
    return RunItem(row.id, row.source, row.output_name, row.overrides, row.video_sha256)


def _end(item: RunItem, standing: ItemState) -> ItemSummary:
    last = standing.attempts[-1] if standing.attempts else None
    has_ended = WorkState.PENDING not in standing.states.values()
    return ItemSummary(
        item=item,
        outcome=OutcomeKind(last.outcome) if has_ended and last and last.outcome else None,
        error_code=last.error_code if last else None,
        error=last.error_message if last else None,
        steps=tuple(_totals(standing.attempts)),
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
            seconds=sum((each.ended_at - each.started_at).total_seconds() for each in tries),
        )
