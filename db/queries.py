"""What tasks and flows ask the ledger."""

from collections.abc import Sequence

from sqlalchemy import and_, exists, func, select
from sqlalchemy.orm import Session, selectinload

from db.records import (
    AttemptStatus,
    DecisionRef,
    Direction,
    FinishedStep,
    MadeDecision,
    OpenStep,
    Reopened,
    StepRef,
    WorkState,
)
from db.schema import Attempt, AttemptArtifact, Item, Reopening, Run, Work
from db.standing import stand_of
from db.work import IS_OPEN, counted_deaths, has_lapsed, standings
from deepsound.artifacts.protocol import Artifact
from deepsound.pipeline import Step

_RESULTS = (
    selectinload(Attempt.decisions),
    selectinload(Attempt.artifacts).selectinload(AttemptArtifact.artifact),
)
_REUSED_RESULTS = selectinload(Attempt.reused).options(*_RESULTS)


def find_finished(session: Session, step_key: str) -> FinishedStep | None:
    """The newest finished attempt with this key, in whatever run. Whether its outputs are kept is not known."""
    finished = (
        select(Attempt)
        .where(Attempt.step_key == step_key, Attempt.status == AttemptStatus.DONE.value)
        .order_by(Attempt.id.desc())
        .limit(1)
        .options(*_RESULTS)
    )
    attempt = session.scalar(finished)
    return None if attempt is None else _finished(attempt, attempt)


def item_history(session: Session, item_id: int) -> tuple[FinishedStep, ...]:
    """The latest standing result of each step and round of an item, in the order they were reached.

    A reused attempt shows the result, decisions and outputs of the attempt it stands for.
    """
    made = select(Attempt).where(Attempt.item_id == item_id).order_by(Attempt.seq)
    attempts = {row.id: row for row in session.scalars(made.options(*_RESULTS, _REUSED_RESULTS))}
    taken_back = session.scalars(select(Reopening).where(Reopening.item_id == item_id).order_by(Reopening.seq))
    latest: dict[tuple[str, int], FinishedStep] = {}
    for standing in stand_of(attempts.values(), taken_back).attempts:
        if standing.status == AttemptStatus.FAILED.value:
            continue
        attempt = attempts[standing.id]
        # Taken out first, so that a step done again stands where it was done again.
        latest.pop((attempt.step, attempt.round), None)
        latest[attempt.step, attempt.round] = _finished(attempt, attempt.reused or attempt)
    return tuple(latest.values())


def reopened(session: Session, item_ids: Sequence[int]) -> dict[int, Reopened]:
    """Of some items, those of which steps were taken back."""
    counts = select(Reopening.item_id, func.count()).where(Reopening.item_id.in_(item_ids))
    of_item = dict(session.execute(counts.group_by(Reopening.item_id)).tuples().all())
    stand_now = standings(session, list(of_item))
    return {item_id: Reopened(number, stand_now[item_id].anew) for item_id, number in of_item.items()}


def deaths(session: Session, item_ids: Sequence[int]) -> dict[int, int]:
    """Of some items, those during whose open step workers vanished, and how often; a lapsed lease counts."""
    open_steps = select(Work.item_id, counted_deaths(session)).where(Work.item_id.in_(item_ids), IS_OPEN)
    return {item_id: number for item_id, number in session.execute(open_steps) if number}


def unfinished(session: Session, run_id: str) -> list[OpenStep]:
    """Every open step of a run, in the order of its list."""
    columns = (Work.item_id, Work.step, Work.round, Work.state, Work.lease_owner, has_lapsed(session))
    rows = session.execute(
        select(*columns)
        .join(Item, Work.item_id == Item.id)
        .where(Item.run_id == run_id, IS_OPEN)
        .order_by(Item.ordinal)
    )
    return [_open_step(*row) for row in rows]


def find_open_run(session: Session, settings_sha256: str, manifest_sha256: str) -> str | None:
    """The newest run with these very settings and this very list that still has open steps."""
    has_work = exists().where(Item.run_id == Run.id, Work.item_id == Item.id, IS_OPEN)
    same = and_(Run.settings_sha256 == settings_sha256, Run.manifest_sha256 == manifest_sha256)
    return session.scalar(select(Run.id).where(same, has_work).order_by(Run.id.desc()).limit(1))


def _open_step(
    item_id: int, step: str, number: int, state: str, owner: str | None, has_lapsed: bool | None
) -> OpenStep:
    at = StepRef(Step(step), number)
    return OpenStep(item_id, at, WorkState.PENDING if has_lapsed else WorkState(state), owner)


def _finished(attempt: Attempt, maker: Attempt) -> FinishedStep:
    return FinishedStep(
        at=StepRef(Step(attempt.step), attempt.round),
        attempt_id=maker.id,
        backend=maker.backend,
        result=maker.result or {},
        probability=maker.probability,
        decisions=tuple(
            MadeDecision(DecisionRef(maker.id, made.position), made.key, made.value, made.confidence)
            for made in maker.decisions
        ),
        outputs={
            link.role: Artifact(link.artifact.sha256, link.artifact.size, link.artifact.media_type)
            for link in maker.artifacts
            if link.direction == Direction.OUTPUT.value
        },
    )
