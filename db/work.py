"""The to-do list: which steps are open, and who holds which until when. Its table is the only one that changes.

Leases are timed by the database's clock, so workers whose clocks disagree still agree on them.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Select,
    and_,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, load_only

from db.columns import UtcDateTime, Values
from db.owner import is_dead
from db.records import FIRST_STEP, AttemptStatus, StepRef, WorkState
from db.schema import Attempt, Item, Work, table_of
from deepsound.pipeline import Step

_SAYS_WHAT_FOLLOWS = (
    Attempt.item_id,
    Attempt.step,
    Attempt.round,
    Attempt.status,
    Attempt.next_step,
    Attempt.next_round,
)
_NOBODY: Values = {"lease_owner": None, "lease_until": None}


def claim(session: Session, item_id: int, at: StepRef, owner: str, seconds: float) -> bool:
    """Take a pending step, or one whose lease ran out, for some seconds. False: it is another's, or not open.

    Whoever holds the lease already renews it.
    """
    takeable = or_(
        Work.state == WorkState.PENDING.value,
        Work.lease_until < database_clock(session),
        Work.lease_owner == owner,
    )
    lease: Values = {"lease_owner": owner, "lease_until": database_clock(session, seconds)}
    return _set(session, and_(_step(item_id, at), takeable), WorkState.RUNNING, lease) == 1


def release(session: Session, item_id: int, at: StepRef, owner: str) -> None:
    """Give a step back unfinished; without effect where the owner does not hold it."""
    close(session, item_id, at, owner, WorkState.PENDING)


def release_dead(session: Session, run_id: str) -> int:
    """Give back what processes of this host held that no longer live. Returns how many steps."""
    held = and_(Work.state == WorkState.RUNNING.value, Work.item_id.in_(_items(run_id)))
    owners = session.scalars(select(Work.lease_owner).where(held).distinct()).all()
    dead = [owner for owner in owners if owner is not None and is_dead(owner)]
    return _set(session, and_(held, Work.lease_owner.in_(dead)), WorkState.PENDING, _NOBODY) if dead else 0


def close(session: Session, item_id: int, at: StepRef, owner: str, state: WorkState) -> bool:
    """Bring a held step to a state and end its lease. False where the owner does not hold it (any more)."""
    return _set(session, and_(_step(item_id, at), Work.lease_owner == owner), state, _NOBODY) == 1


def reopen(session: Session, item_id: int, at: StepRef) -> None:
    """Make a step pending, whatever became of it before."""
    if _set(session, _step(item_id, at), WorkState.PENDING, _NOBODY) == 0:
        row: Values = {"item_id": item_id, "step": at.step.value, "round": at.round}
        session.execute(insert(table_of(Work)), {**row, "state": WorkState.PENDING.value})


def open_first_steps(session: Session, run_id: str) -> None:
    """Make the first step of every item of a run pending."""
    first = select(
        Item.id,
        literal(FIRST_STEP.step.value),
        literal(FIRST_STEP.round),
        literal(WorkState.PENDING.value),
    ).where(Item.run_id == run_id)
    session.execute(insert(Work).from_select(["item_id", "step", "round", "state"], first))


def rebuild_work(session: Session, run_id: str) -> None:
    """Write a run's to-do list anew from its attempts. Leases are dropped, so no worker may be at it."""
    attempts: dict[int, list[Attempt]] = {item_id: [] for item_id in session.scalars(_items(run_id))}
    said = select(Attempt).where(Attempt.item_id.in_(_items(run_id))).order_by(Attempt.item_id, Attempt.seq)
    for attempt in session.scalars(said.options(load_only(*_SAYS_WHAT_FOLLOWS))):
        attempts[attempt.item_id].append(attempt)
    session.execute(delete(Work).where(Work.item_id.in_(_items(run_id))))
    rows = [
        {"item_id": item_id, "step": at.step.value, "round": at.round, "state": state.value}
        for item_id, made in attempts.items()
        for at, state in states_after(made).items()
    ]
    if rows:
        session.execute(insert(table_of(Work)), rows)


def states_after(attempts: Iterable[Attempt]) -> dict[StepRef, WorkState]:
    """Where the steps of one item stand by its attempts, in order."""
    states = {FIRST_STEP: WorkState.PENDING}
    for attempt in attempts:
        failed = attempt.status == AttemptStatus.FAILED.value
        states[StepRef(Step(attempt.step), attempt.round)] = WorkState.FAILED if failed else WorkState.DONE
        if attempt.next_step is not None and attempt.next_round is not None:
            states[StepRef(Step(attempt.next_step), attempt.next_round)] = WorkState.PENDING
    return states


def _items(run_id: str) -> Select[int]:
    return select(Item.id).where(Item.run_id == run_id)


def _step(item_id: int, at: StepRef) -> ColumnElement[bool]:
    return and_(Work.item_id == item_id, Work.step == at.step.value, Work.round == at.round)


def _set(session: Session, which: ColumnElement[bool], state: WorkState, lease: Values) -> int:
    # RETURNING, not a row count: drivers may not know the latter.
    work = table_of(Work)
    change = update(work).where(which).values(state=state.value, **lease).returning(work.c.item_id)
    return len(session.execute(change).all())


def database_clock(session: Session, ahead: float = 0.0) -> ColumnElement[datetime]:
    """The database's present time, some seconds ahead."""
    if session.get_bind().dialect.name == "postgresql":
        return func.clock_timestamp(type_=DateTime(timezone=True)) + timedelta(seconds=ahead)
    # Spelled as the driver spells times, since SQLite compares them as text.
    return func.strftime("%Y-%m-%d %H:%M:%f000", "now", f"{ahead:f} seconds", type_=UtcDateTime)
