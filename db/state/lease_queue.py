"""The to-do list: which steps are open, and who holds which until when. Its table is the only one that changes.

Leases are timed by the database's clock, so workers whose clocks disagree still agree on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from db.schema.column_types import UtcDateTime, Values
from db.schema.records import FIRST_STEP, StepRef, WorkState
from db.schema.tables import AttemptRow, ItemRow, RetryRow, WorkRow, table_of
from db.state.attempt_history import AttemptSummary, ItemState, RetrySummary, replay_attempts
from db.state.lease_owner import is_dead

_COLUMNS_MADE = [table_of(AttemptRow).c[name] for name in AttemptSummary._fields]
_COLUMNS_BACK = [table_of(RetryRow).c[name] for name in RetrySummary._fields]

IS_OPEN = WorkRow.state.in_((WorkState.PENDING.value, WorkState.RUNNING.value))
"""Which rows are left to do, whoever holds them."""

_CHUNK = 500
_NOBODY: Values = {"lease_owner": None, "lease_until": None}


@dataclass(frozen=True, slots=True)
class Lease:
    """A step that is the caller's for now; `deaths` is how many workers vanished while they held it."""

    deaths: int


def claim(
    session: Session, item_id: int, at: StepRef, owner: str, seconds: float, *, retries: int = 0
) -> Lease | None:
    """Take a pending step, or one whose lease ran out, for some seconds. None: it is another's, or not open.

    Whoever holds the lease already renews it. Who took it and let it run out counts as dead. `retries` is
    how many of the item the caller knows of: who missed one would go on from results that were taken back.
    """
    asked = {"item": item_id, "at_step": at.step.value, "at_round": at.round, "owner": owner, "known": retries}
    deaths = session.scalar(_claiming(session.get_bind().dialect.name, seconds), asked)
    return None if deaths is None else Lease(deaths)


@lru_cache(maxsize=32)  # Every step of every video asks for it, and making it costs more than asking it.
def _claiming(dialect: str, seconds: float) -> ReturningUpdate[tuple[int]]:
    work, owner, reopening = table_of(WorkRow).c, bindparam("owner", type_=Text), table_of(RetryRow).c
    retries = select(func.count()).where(reopening.item_id == bindparam("item")).scalar_subquery()
    has_lapsed = work.lease_until < _clock(dialect)
    is_open = or_(work.state == WorkState.PENDING.value, has_lapsed, work.lease_owner == owner)
    vanished = and_(work.state == WorkState.RUNNING.value, work.lease_owner != owner)
    return (
        update(table_of(WorkRow))
        .where(work.item_id == bindparam("item"), work.step == bindparam("at_step"))
        .where(work.round == bindparam("at_round"), is_open, retries == bindparam("known", type_=Integer))
        .values(
            state=WorkState.RUNNING.value,
            lease_owner=owner,
            lease_until=_clock(dialect, seconds),
            deaths=work.deaths + case((vanished, 1), else_=0),
        )
        .returning(work.deaths)
    )


def release_dead(session: Session, run_id: str) -> int:
    """Give back what processes of this host held that no longer live. Returns how many steps.

    It is not counted as a death: whoever asks knows why they ended, a person who starts a command again.
    """
    held = and_(WorkRow.state == WorkState.RUNNING.value, WorkRow.item_id.in_(items_of_run(run_id)))
    owners = session.scalars(select(WorkRow.lease_owner).where(held).distinct()).all()
    dead = [owner for owner in owners if owner is not None and is_dead(owner)]
    if not dead:
        return 0
    return _set(session, and_(held, WorkRow.lease_owner.in_(dead)), WorkState.PENDING, _NOBODY)


def close(session: Session, item_id: int, at: StepRef, owner: str, state: WorkState) -> bool:
    """Bring a held step to a state and end its lease. False where the owner does not hold it (any more)."""
    return _set(session, and_(_step(item_id, at), WorkRow.lease_owner == owner), state, _NOBODY) == 1


def open_step(session: Session, item_id: int, at: StepRef) -> None:
    """Make a step pending, whatever became of it before."""
    if _set(session, _step(item_id, at), WorkState.PENDING, _NOBODY) == 0:
        row: Values = {"item_id": item_id, "step": at.step.value, "round": at.round}
        session.execute(insert(table_of(WorkRow)), {**row, "state": WorkState.PENDING.value})


def open_first_steps(session: Session, run_id: str) -> None:
    """Make the first step of every item of a run pending."""
    first = select(
        ItemRow.id,
        literal(FIRST_STEP.step.value),
        literal(FIRST_STEP.round),
        literal(WorkState.PENDING.value),
    ).where(ItemRow.run_id == run_id)
    session.execute(insert(WorkRow).from_select(["item_id", "step", "round", "state"], first))


def rebuild_work(session: Session, run_id: str) -> None:
    """Write a run's to-do list anew from its attempts. Leases are dropped, so no worker may be at it."""
    item_ids = session.scalars(items_of_run(run_id)).all()
    for start in range(0, len(item_ids), _CHUNK):
        chunk = item_ids[start : start + _CHUNK]
        write_work(session, {item_id: each.states for item_id, each in item_states(session, chunk).items()})


def item_states(session: Session, item_ids: Sequence[int]) -> dict[int, ItemState]:
    """Where items stand by their attempts and retries."""
    attempts: dict[int, list[AttemptSummary]] = {item_id: [] for item_id in item_ids}
    retries: dict[int, list[RetrySummary]] = {item_id: [] for item_id in item_ids}
    said = (
        select(*_COLUMNS_MADE).where(AttemptRow.item_id.in_(item_ids)).order_by(AttemptRow.item_id, AttemptRow.seq)
    )
    for row in session.execute(said):
        made = AttemptSummary(*row)
        attempts[made.item_id].append(made)
    back = select(*_COLUMNS_BACK).where(RetryRow.item_id.in_(item_ids)).order_by(RetryRow.item_id, RetryRow.seq)
    for row in session.execute(back):
        taken_back = RetrySummary(*row)
        retries[taken_back.item_id].append(taken_back)
    return {item_id: replay_attempts(made, retries[item_id]) for item_id, made in attempts.items()}


def write_work(session: Session, states: Mapping[int, Mapping[StepRef, WorkState]]) -> None:
    """Replace all that the to-do list says of some items."""
    session.execute(delete(WorkRow).where(WorkRow.item_id.in_(states)))
    rows = [
        {"item_id": item_id, "step": at.step.value, "round": at.round, "state": state.value}
        for item_id, of_item in states.items()
        for at, state in of_item.items()
    ]
    if rows:
        session.execute(insert(table_of(WorkRow)), rows)


def items_of_run(run_id: str) -> Select[tuple[int]]:
    """Ids of a run's items, to select from."""
    return select(ItemRow.id).where(ItemRow.run_id == run_id)


def _step(item_id: int, at: StepRef) -> ColumnElement[bool]:
    return and_(WorkRow.item_id == item_id, WorkRow.step == at.step.value, WorkRow.round == at.round)


def _set(session: Session, which: ColumnElement[bool], state: WorkState, lease: Values) -> int:
    # RETURNING, not a row count: drivers may not know the latter.
    work = table_of(WorkRow)
    change = update(work).where(which).values(state=state.value, **lease).returning(work.c.item_id)
    return len(session.execute(change).all())


def has_lapsed(session: Session) -> ColumnElement[bool]:
    """Whether a step was taken by somebody who was not seen for the length of a lease."""
    return and_(WorkRow.state == WorkState.RUNNING.value, WorkRow.lease_until < database_clock(session))


def counted_deaths(session: Session) -> ColumnElement[int]:
    """How often a worker vanished while it held a step; one that let its lease run out is counted already."""
    return WorkRow.deaths + case((has_lapsed(session), 1), else_=0)


def database_clock(session: Session, ahead: float = 0.0) -> ColumnElement[datetime]:
    """The database's present time, some seconds ahead."""
    return _clock(session.get_bind().dialect.name, ahead)


def _clock(dialect: str, ahead: float = 0.0) -> ColumnElement[datetime]:
    if dialect == "postgresql":
        return func.clock_timestamp(type_=DateTime(timezone=True)) + timedelta(seconds=ahead)
    # Spelled as the driver spells times, since SQLite compares them as text.
    return func.strftime("%Y-%m-%d %H:%M:%f000", "now", f"{ahead:f} seconds", type_=UtcDateTime)
