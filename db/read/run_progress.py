"""Progress of runs, counted by the database: cheap enough to be queried every second."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, case, exists, func, select
from sqlalchemy.orm import Session, aliased

from db.read.run_state import RunState, run_state
from db.schema.records import WorkState
from db.schema.tables import AttemptRow, ItemRow, RunRow, WorkRow
from db.state.lease_queue import IS_OPEN, counted_deaths, database_clock, has_expired_lease, items_of_run
from deepsound.errors import ErrorCode
from deepsound.pipeline import OutcomeKind, Step

RECENT_MINUTES = 5.0
"""The span over which the current rate is measured."""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """The progress of a run.

    `steps`: the number of items by step and state; a running step with an expired lease counts as pending.
    `outcomes`: the number of ended items by outcome; `errors`: of failed ones by error code. `ended_recently`: how
    many items ended in the last `RECENT_MINUTES`.
    """

    run_id: str
    name: str
    registered_at: datetime
    items: int
    open_items: int
    steps: Mapping[tuple[Step, WorkState], int]
    outcomes: Mapping[OutcomeKind, int]
    errors: Mapping[str, int]
    ended_recently: int

    @property
    def quarantined(self) -> int:
        """How many items failed because two workers died while they held a step of them."""
        return self.errors.get(ErrorCode.QUARANTINED, 0)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a list: its state, number of items, number of open items, and ended items by outcome."""

    run_id: str
    name: str
    registered_at: datetime
    state: RunState
    items: int
    open_items: int
    outcomes: Mapping[OutcomeKind, int]


@dataclass(frozen=True, slots=True)
class OpenItem:
    """An item that has not ended. `deaths`: how many workers stopped responding while they held its open step."""

    id: int
    deaths: int


def run_progress(session: Session, run_id: str) -> RunProgress | None:
    """Returns the progress of a run, or None for an unknown id."""
    run = session.get(RunRow, run_id)
    if run is None:
        return None
    shown = case((has_expired_lease(session), WorkState.PENDING.value), else_=WorkRow.state)
    steps = select(WorkRow.step, shown, func.count()).where(WorkRow.item_id.in_(items_of_run(run_id)))
    recent = func.sum(case((AttemptRow.ended_at > database_clock(session, -60.0 * RECENT_MINUTES), 1), else_=0))
    ended = session.execute(_ended_items(run_id).add_columns(recent)).tuples().all()
    outcomes = _outcomes((outcome, number) for outcome, _, number, _ in ended)
    items = _count_items(session, run_id)
    return RunProgress(
        run_id=run.id,
        name=run.name,
        registered_at=run.created_at,
        items=items,
        open_items=items - outcomes.total(),
        steps={
            (Step(step), WorkState(state)): number
            for step, state, number in session.execute(steps.group_by(WorkRow.step, shown))
        },
        outcomes=outcomes,
        errors={code: number for _, code, number, _ in ended if code is not None},
        ended_recently=sum(number for *_, number in ended),
    )


def run_list(session: Session, newest: int = 50) -> list[RunSummary]:
    """Returns the newest runs, newest first."""
    runs = session.scalars(select(RunRow).order_by(RunRow.id.desc()).limit(newest)).all()
    return [_summary(session, run) for run in runs]


def recently_active_runs(session: Session, since: datetime) -> list[str]:
    """Returns the ids of runs with open items, or with attempts that ended since a time (UTC), oldest first."""
    ended = (
        select(ItemRow.run_id)
        .join(AttemptRow, AttemptRow.item_id == ItemRow.id)
        .where(AttemptRow.ended_at >= since)
    )
    open_ = select(ItemRow.run_id).join(WorkRow, WorkRow.item_id == ItemRow.id).where(IS_OPEN)
    return sorted(session.scalars(ended.union(open_)))


def open_items(session: Session, run_id: str) -> list[OpenItem]:
    """Returns the items of a run that have not ended, in the order of its manifest."""
    rows = session.execute(
        select(WorkRow.item_id, counted_deaths(session))
        .join(ItemRow, WorkRow.item_id == ItemRow.id)
        .where(ItemRow.run_id == run_id, IS_OPEN)
        .order_by(ItemRow.ordinal)
    )
    return [OpenItem(item_id, deaths) for item_id, deaths in rows]


def _summary(session: Session, run: RunRow) -> RunSummary:
    ended = session.execute(_ended_items(run.id)).tuples()
    outcomes = _outcomes((outcome, number) for outcome, _, number in ended)
    items = _count_items(session, run.id)
    return RunSummary(
        run_id=run.id,
        name=run.name,
        registered_at=run.created_at,
        state=run_state(session, run.id),
        items=items,
        open_items=items - outcomes.total(),
        outcomes=outcomes,
    )


def _outcomes(counted: Iterable[tuple[str | None, int]]) -> Counter[OutcomeKind]:
    outcomes = Counter[OutcomeKind]()
    for outcome, number in counted:
        outcomes[OutcomeKind(str(outcome))] += number
    return outcomes


def _count_items(session: Session, run_id: str) -> int:
    return session.scalar(select(func.count()).where(ItemRow.run_id == run_id)) or 0


def _ended_items(run_id: str) -> Select[tuple[str | None, str | None, int]]:
    """Counts ended items, those without an open step, by outcome and error of their last attempt."""
    later = aliased(AttemptRow)
    return (
        select(AttemptRow.outcome, AttemptRow.error_code, func.count())
        .join(ItemRow, AttemptRow.item_id == ItemRow.id)
        .where(
            ItemRow.run_id == run_id,
            AttemptRow.outcome.is_not(None),
            ~exists().where(later.item_id == AttemptRow.item_id, later.seq > AttemptRow.seq),
            ~exists().where(WorkRow.item_id == AttemptRow.item_id, IS_OPEN),
        )
        .group_by(AttemptRow.outcome, AttemptRow.error_code)
    )
