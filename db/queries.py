"""What tasks and flows ask the ledger."""

from collections import Counter

from sqlalchemy import ColumnElement, Select, and_, exists, func, select
from sqlalchemy.orm import Session, aliased, selectinload

from db.records import (
    AttemptStatus,
    DecisionRef,
    Direction,
    FinishedStep,
    MadeDecision,
    OpenStep,
    RunSummary,
    StepRef,
    WorkState,
)
from db.schema import Attempt, AttemptArtifact, Item, Run, Work
from db.work import database_clock
from deepsound.artifacts.protocol import Artifact
from deepsound.pipeline import OutcomeKind, Step

_IS_OPEN = Work.state.in_((WorkState.PENDING.value, WorkState.RUNNING.value))
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
    """The latest result of each step and round of an item, in the order they were reached.

    A reused attempt shows the result, decisions and outputs of the attempt it stands for.
    """
    attempts = session.scalars(
        select(Attempt)
        .where(Attempt.item_id == item_id, Attempt.status != AttemptStatus.FAILED.value)
        .order_by(Attempt.seq)
        .options(*_RESULTS, _REUSED_RESULTS)
    )
    latest: dict[tuple[str, int], FinishedStep] = {}
    for attempt in attempts:
        # Taken out first, so that a step done again stands where it was done again.
        latest.pop((attempt.step, attempt.round), None)
        latest[attempt.step, attempt.round] = _finished(attempt, attempt.reused or attempt)
    return tuple(latest.values())


def unfinished(session: Session, run_id: str) -> list[OpenStep]:
    """Every open step of a run, in the order of its list."""
    lapsed = and_(Work.state == WorkState.RUNNING.value, Work.lease_until < database_clock(session))
    columns = (Work.item_id, Work.step, Work.round, Work.state, Work.lease_owner, lapsed)
    rows = session.execute(
        select(*columns)
        .join(Item, Work.item_id == Item.id)
        .where(Item.run_id == run_id, _IS_OPEN)
        .order_by(Item.ordinal)
    )
    return [_open_step(*row) for row in rows]


def find_open_run(session: Session, settings_sha256: str, manifest_sha256: str) -> str | None:
    """The newest run with these very settings and this very list that still has open steps."""
    has_work = exists().where(Item.run_id == Run.id, Work.item_id == Item.id, _IS_OPEN)
    same = and_(Run.settings_sha256 == settings_sha256, Run.manifest_sha256 == manifest_sha256)
    return session.scalar(select(Run.id).where(same, has_work).order_by(Run.id.desc()).limit(1))


def run_summary(session: Session, run_id: str) -> RunSummary | None:
    """Where a run stands; None if there is no such run."""
    run = session.get(Run, run_id)
    if run is None:
        return None
    steps = select(Work.step, Work.state, func.count()).where(_in_run(run_id)).group_by(Work.step, Work.state)
    open_items = select(func.count(Work.item_id.distinct())).where(_in_run(run_id), _IS_OPEN)
    ended = session.execute(_endings(run_id)).all()
    return RunSummary(
        run_id=run.id,
        name=run.name,
        created_at=run.created_at,
        items=session.scalar(select(func.count()).where(Item.run_id == run_id)) or 0,
        open_items=session.scalar(open_items) or 0,
        outcomes=Counter(OutcomeKind(outcome) for outcome, _ in ended if outcome is not None),
        steps={(Step(step), WorkState(state)): count for step, state, count in session.execute(steps)},
        errors=Counter(code for _, code in ended if code is not None),
    )


def _in_run(run_id: str) -> ColumnElement[bool]:
    return Work.item_id.in_(select(Item.id).where(Item.run_id == run_id))


def _endings(run_id: str) -> Select[str | None, str | None]:
    """Outcome and error of the last attempt of every item that has no open step."""
    later = aliased(Attempt)
    return (
        select(Attempt.outcome, Attempt.error_code)
        .join(Item, Attempt.item_id == Item.id)
        .where(
            Item.run_id == run_id,
            ~exists().where(later.item_id == Attempt.item_id, later.seq > Attempt.seq),
            ~exists().where(Work.item_id == Attempt.item_id, _IS_OPEN),
        )
    )


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
