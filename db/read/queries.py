"""What tasks and flows ask the ledger."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, bindparam, exists, func, select
from sqlalchemy.orm import Session, aliased

from db.schema.records import (
    AttemptStatus,
    DecisionRef,
    Direction,
    FinishedStep,
    ItemRetries,
    OpenStep,
    RecordedDecision,
    StepRef,
    WorkState,
)
from db.schema.tables import ArtifactRow as Kept
from db.schema.tables import AttemptArtifactRow, AttemptRow, DecisionRow, ItemRow, RetryRow, RunRow, WorkRow
from db.state.attempt_history import ItemState
from db.state.lease_queue import IS_OPEN, counted_deaths, has_lapsed, item_states
from deepsound.pipeline import Step
from deepsound.storage.protocol import Artifact

_CHUNK = 200

# Every step of every video asks these, and making them costs more than asking them.
_MAKER = aliased(AttemptRow)
_SAID = select(
    AttemptRow.id, AttemptRow.step, AttemptRow.round, _MAKER.id, _MAKER.backend, _MAKER.result, _MAKER.probability
)
_OF_ATTEMPTS = _SAID.join(_MAKER, _MAKER.id == func.coalesce(AttemptRow.reused_attempt_id, AttemptRow.id)).where(
    AttemptRow.id.in_(bindparam("ids", expanding=True))
)
_OF_KEY = (
    _SAID.join(_MAKER, _MAKER.id == AttemptRow.id)
    .where(AttemptRow.step_key == bindparam("key"), AttemptRow.status == AttemptStatus.DONE.value)
    .order_by(AttemptRow.id.desc())
    .limit(1)
)
_DECIDED = (
    select(
        DecisionRow.attempt_id, DecisionRow.position, DecisionRow.key, DecisionRow.value, DecisionRow.confidence
    )
    .where(DecisionRow.attempt_id.in_(bindparam("ids", expanding=True)))
    .order_by(DecisionRow.attempt_id, DecisionRow.position)
)
_MADE = (
    select(AttemptArtifactRow.attempt_id, AttemptArtifactRow.role, Kept.sha256, Kept.size, Kept.media_type)
    .join(Kept, Kept.sha256 == AttemptArtifactRow.artifact_sha256)
    .where(AttemptArtifactRow.attempt_id.in_(bindparam("ids", expanding=True)))
    .where(AttemptArtifactRow.direction == Direction.OUTPUT.value)
    .order_by(AttemptArtifactRow.attempt_id, AttemptArtifactRow.role)
)


def find_finished(session: Session, step_key: str) -> FinishedStep | None:
    """The newest finished attempt with this key, in whatever run. Whether its outputs are kept is not known."""
    found = list(_finished(session, session.execute(_OF_KEY, {"key": step_key}).tuples().all()).values())
    return found[0] if found else None


def item_history(session: Session, item_id: int) -> tuple[FinishedStep, ...]:
    """The latest standing result of each step and round of an item, in the order they were reached.

    A reused attempt shows the result, decisions and outputs of the attempt it stands for.
    """
    return item_histories(session, [item_id])[item_id]


def item_histories(session: Session, item_ids: Sequence[int]) -> dict[int, tuple[FinishedStep, ...]]:
    """The same of many items, for a fraction of what each costs alone."""
    histories: dict[int, tuple[FinishedStep, ...]] = {}
    for start in range(0, len(item_ids), _CHUNK):
        chunk = item_ids[start : start + _CHUNK]
        latest = {item_id: _latest(standing) for item_id, standing in item_states(session, chunk).items()}
        wanted = [attempt_id for of_item in latest.values() for attempt_id in of_item]
        finished = _finished(session, session.execute(_OF_ATTEMPTS, {"ids": wanted}).tuples().all())
        histories |= {
            item_id: tuple(finished[attempt_id] for attempt_id in of_item) for item_id, of_item in latest.items()
        }
    return histories


def _latest(standing: ItemState) -> list[int]:
    """Ids of the attempts that gave each step of an item its latest result, in the order they were reached."""
    latest: dict[StepRef, int] = {}
    for attempt in standing.attempts:
        if attempt.status != AttemptStatus.FAILED.value:
            # Taken out first, so that a step done again stands where it was done again.
            latest.pop(attempt.at, None)
            latest[attempt.at] = attempt.id
    return list(latest.values())


def item_retries(session: Session, item_ids: Sequence[int]) -> dict[int, ItemRetries]:
    """Of some items, those of which steps were taken back."""
    counts = select(RetryRow.item_id, func.count()).where(RetryRow.item_id.in_(item_ids))
    of_item = dict(session.execute(counts.group_by(RetryRow.item_id)).tuples().all())
    stand_now = item_states(session, list(of_item))
    return {item_id: ItemRetries(number, stand_now[item_id].recompute) for item_id, number in of_item.items()}


def deaths(session: Session, item_ids: Sequence[int]) -> dict[int, int]:
    """Of some items, those during whose open step workers vanished, and how often; a lapsed lease counts."""
    open_steps = select(WorkRow.item_id, counted_deaths(session)).where(WorkRow.item_id.in_(item_ids), IS_OPEN)
    return {item_id: number for item_id, number in session.execute(open_steps) if number}


def unfinished_steps(session: Session, run_id: str) -> list[OpenStep]:
    """Every open step of a run, in the order of its list."""
    columns = (
        WorkRow.item_id,
        WorkRow.step,
        WorkRow.round,
        WorkRow.state,
        WorkRow.lease_owner,
        has_lapsed(session),
    )
    rows = session.execute(
        select(*columns)
        .join(ItemRow, WorkRow.item_id == ItemRow.id)
        .where(ItemRow.run_id == run_id, IS_OPEN)
        .order_by(ItemRow.ordinal)
    )
    return [_open_step(*row) for row in rows]


def find_open_run(session: Session, settings_sha256: str, manifest_sha256: str) -> str | None:
    """The newest run with these very settings and this very list that still has open steps."""
    has_work = exists().where(ItemRow.run_id == RunRow.id, WorkRow.item_id == ItemRow.id, IS_OPEN)
    same = and_(RunRow.settings_sha256 == settings_sha256, RunRow.manifest_sha256 == manifest_sha256)
    return session.scalar(select(RunRow.id).where(same, has_work).order_by(RunRow.id.desc()).limit(1))


def _open_step(
    item_id: int, step: str, number: int, state: str, owner: str | None, has_lapsed: bool | None
) -> OpenStep:
    at = StepRef(Step(step), number)
    return OpenStep(item_id, at, WorkState.PENDING if has_lapsed else WorkState(state), owner)


_Said = tuple[int, str, int, int, str, dict[str, Any] | None, float | None]


def _finished(session: Session, rows: Sequence[_Said]) -> dict[int, FinishedStep]:
    """What attempts gave: their own results, or those of the attempts they reused."""
    if not rows:
        return {}
    makers = {"ids": list({maker for _, _, _, maker, *_ in rows})}
    decided: dict[int, list[RecordedDecision]] = {}
    for attempt_id, position, key, value, confidence in session.execute(_DECIDED, makers).tuples():
        decision = RecordedDecision(DecisionRef(attempt_id, position), key, value, confidence)
        decided.setdefault(attempt_id, []).append(decision)
    made: dict[int, dict[str, Artifact]] = {}
    for attempt_id, role, sha256, size, media_type in session.execute(_MADE, makers).tuples():
        made.setdefault(attempt_id, {})[role] = Artifact(sha256, size, media_type)
    return {
        attempt_id: FinishedStep(
            at=StepRef(Step(step), number),
            attempt_id=maker,
            backend=backend,
            result=result or {},
            probability=probability,
            decisions=tuple(decided.get(maker, ())),
            outputs=made.get(maker, {}),
        )
        for attempt_id, step, number, maker, backend, result, probability in rows
    }
