"""The queue of open steps, and leases on them: the only code that changes the table `work`.

`work` holds no evidence: its states follow from the append-only tables, and `rebuild_work` restores them. All
times are the database's, so workers with wrong clocks agree on who holds a lease.
"""

from collections.abc import Mapping
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
    text,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from db.schema.column_types import UtcDateTime, Values
from db.schema.records import FIRST_STEP, StepRef, WorkState
from db.schema.tables import ItemRow, RetryRow, WorkRow, table_of
from db.state.attempt_history import item_states
from db.state.lease_owner import is_dead, lease_seconds

IS_OPEN = WorkRow.state.in_((WorkState.PENDING.value, WorkState.RUNNING.value))
"""Selects rows of steps that are left to do, whether or not a worker holds them."""

_CHUNK = 500
_NO_LEASE: Values = {"lease_owner": None, "lease_until": None}


@dataclass(frozen=True, slots=True)
class Lease:
    """A step that the caller holds; `deaths` is how many workers stopped responding while they held it."""

    deaths: int


def claim(
    session: Session, item_id: int, at: StepRef, owner: str, seconds: float, *, retries: int = 0
) -> Lease | None:
    """Takes the lease of an open step for some seconds. None: another worker holds it, or the step is not open.

    An owner that already holds the lease renews it. Taking over an expired lease counts its holder as dead.
    `retries` is the item's number of retries that the caller knows of: with a lower one its results are
    superseded, and the claim is refused.
    """
    values = {"item": item_id, "at_step": at.step.value, "at_round": at.round, "owner": owner, "known": retries}
    deaths = session.scalar(_claim_statement(session.get_bind().dialect.name, seconds), values)
    return None if deaths is None else Lease(deaths)


@lru_cache(maxsize=32)  # Every step of every video runs it, and building the statement costs more than running it.
def _claim_statement(dialect: str, seconds: float) -> ReturningUpdate[tuple[int]]:
    work, owner, retry = table_of(WorkRow).c, bindparam("owner", type_=Text), table_of(RetryRow).c
    retries = select(func.count()).where(retry.item_id == bindparam("item")).scalar_subquery()
    has_expired = work.lease_until < _clock(dialect)
    is_free = or_(work.state == WorkState.PENDING.value, has_expired, work.lease_owner == owner)
    holder_died = and_(work.state == WorkState.RUNNING.value, work.lease_owner != owner)
    return (
        update(table_of(WorkRow))
        .where(work.item_id == bindparam("item"), work.step == bindparam("at_step"))
        .where(work.round == bindparam("at_round"), is_free, retries == bindparam("known", type_=Integer))
        .values(
            state=WorkState.RUNNING.value,
            lease_owner=owner,
            lease_until=_clock(dialect, seconds),
            deaths=work.deaths + case((holder_died, 1), else_=0),
        )
        .returning(work.deaths)
    )


def renew_leases(session: Session, owner: str) -> None:
    """Extends every lease of an owner by `lease_seconds` from now."""
    until = database_clock(session, lease_seconds())
    session.execute(update(table_of(WorkRow)).where(_is_held_by(owner)).values(lease_until=until))


def release_leases(session: Session, run_id: str, owner: str) -> None:
    """Opens every step of a run that an owner holds."""
    held = and_(_is_held_by(owner), WorkRow.item_id.in_(items_of_run(run_id)))
    _set_state(session, held, WorkState.PENDING)


def release_dead(session: Session, run_id: str) -> int:
    """Opens every step of a run held by a process of this host that has ended. Returns the number of steps.

    These are not counted as deaths: a person stopped the command and starts it again.
    """
    held = and_(WorkRow.state == WorkState.RUNNING.value, WorkRow.item_id.in_(items_of_run(run_id)))
    owners = session.scalars(select(WorkRow.lease_owner).where(held).distinct()).all()
    dead = [owner for owner in owners if owner is not None and is_dead(owner)]
    if not dead:
        return 0
    return _set_state(session, and_(held, WorkRow.lease_owner.in_(dead)), WorkState.PENDING)


def close_step(session: Session, item_id: int, at: StepRef, owner: str, state: WorkState) -> bool:
    """Sets the state of a held step and ends its lease. Returns False if the owner does not hold it."""
    return _set_state(session, and_(_is_step(item_id, at), WorkRow.lease_owner == owner), state) == 1


def open_step(session: Session, item_id: int, at: StepRef) -> None:
    """Makes a step pending, whatever its state was."""
    if _set_state(session, _is_step(item_id, at), WorkState.PENDING) == 0:
        row: Values = {"item_id": item_id, "step": at.step.value, "round": at.round}
        session.execute(insert(table_of(WorkRow)), {**row, "state": WorkState.PENDING.value})


def open_first_steps(session: Session, run_id: str) -> None:
    """Makes the first step of every item of a run pending."""
    first = select(
        ItemRow.id,
        literal(FIRST_STEP.step.value),
        literal(FIRST_STEP.round),
        literal(WorkState.PENDING.value),
    ).where(ItemRow.run_id == run_id)
    session.execute(insert(WorkRow).from_select(["item_id", "step", "round", "state"], first))


def write_work(session: Session, states: Mapping[int, Mapping[StepRef, WorkState]]) -> None:
    """Replaces all rows of some items by the given states, without leases and with `deaths` 0."""
    session.execute(delete(WorkRow).where(WorkRow.item_id.in_(states)))
    rows = [
        {"item_id": item_id, "step": at.step.value, "round": at.round, "state": state.value}
        for item_id, of_item in states.items()
        for at, state in of_item.items()
    ]
    if rows:
        session.execute(insert(table_of(WorkRow)), rows)


def rebuild_work(session: Session, run_id: str) -> int:
    """Makes the rows of a run agree with its attempts and retries. Returns how many it added, changed or deleted.

    Where a step is open, a running state agrees too, so its lease and its `deaths` remain.
    """
    if session.get_bind().dialect.name == "postgresql":
        # Attempts must not change between reading them and writing the rows. SQLite has one writer anyway.
        session.execute(text("LOCK TABLE work IN SHARE ROW EXCLUSIVE MODE"))
    item_ids, changed = session.scalars(items_of_run(run_id)).all(), 0
    for start in range(0, len(item_ids), _CHUNK):
        chunk = item_ids[start : start + _CHUNK]
        expected = {
            (item_id, at.step.value, at.round): step_state.value
            for item_id, item in item_states(session, chunk).items()
            for at, step_state in item.states.items()
        }
        columns = (WorkRow.item_id, WorkRow.step, WorkRow.round, WorkRow.state)
        rows = session.execute(select(*columns).where(WorkRow.item_id.in_(chunk))).tuples()
        present = {(item_id, step, number): state for item_id, step, number, state in rows}
        keys = sorted(expected.keys() | present.keys())
        changed += sum(_correct_row(session, key, expected.get(key), present.get(key)) for key in keys)
    return changed


def _correct_row(session: Session, key: tuple[int, str, int], expected: str | None, present: str | None) -> bool:
    if present == expected or (present, expected) == (WorkState.RUNNING.value, WorkState.PENDING.value):
        return False
    work, values = table_of(WorkRow), dict(zip(("item_id", "step", "round"), key, strict=True))
    is_row = and_(*(work.c[name] == value for name, value in values.items()))
    if expected is None:
        session.execute(delete(work).where(is_row))
    elif present is None:
        session.execute(insert(work), {**values, "state": expected})
    else:
        session.execute(update(work).where(is_row).values(state=expected, **_NO_LEASE))
    return True


def items_of_run(run_id: str) -> Select[tuple[int]]:
    """Returns a query for the ids of a run's items."""
    return select(ItemRow.id).where(ItemRow.run_id == run_id)


def has_expired_lease(session: Session) -> ColumnElement[bool]:
    """Whether a running step's lease has expired."""
    return and_(WorkRow.state == WorkState.RUNNING.value, WorkRow.lease_until < database_clock(session))


def counted_deaths(session: Session) -> ColumnElement[int]:
    """How many workers stopped responding while they held a step, the holder of an expired lease among them."""
    return WorkRow.deaths + case((has_expired_lease(session), 1), else_=0)


def database_clock(session: Session, ahead: float = 0.0) -> ColumnElement[datetime]:
    """The database's current time, plus some seconds."""
    return _clock(session.get_bind().dialect.name, ahead)


def _is_step(item_id: int, at: StepRef) -> ColumnElement[bool]:
    return and_(WorkRow.item_id == item_id, WorkRow.step == at.step.value, WorkRow.round == at.round)


def _is_held_by(owner: str) -> ColumnElement[bool]:
    return and_(WorkRow.lease_owner == owner, WorkRow.state == WorkState.RUNNING.value)


def _set_state(session: Session, which: ColumnElement[bool], state: WorkState) -> int:
    """Sets the state of some rows, ends their leases, and returns how many rows there were."""
    # RETURNING, since not every driver reports a row count.
    work = table_of(WorkRow)
    change = update(work).where(which).values(state=state.value, **_NO_LEASE).returning(work.c.item_id)
    return len(session.execute(change).all())


def _clock(dialect: str, ahead: float = 0.0) -> ColumnElement[datetime]:
    if dialect == "postgresql":
        return func.clock_timestamp(type_=DateTime(timezone=True)) + timedelta(seconds=ahead)
    # In the driver's format of times, since SQLite compares them as text.
    return func.strftime("%Y-%m-%d %H:%M:%f000", "now", f"{ahead:f} seconds", type_=UtcDateTime)
