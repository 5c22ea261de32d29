"""Reads results of finished steps, open steps and retries, for workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, exists, func, select
from sqlalchemy.orm import Session, aliased

from db.schema.records import (
    AttemptStatus,
    DecisionRef,
    Direction,
    FinishedStep,
    ItemRetries,
    RecordedDecision,
    StepRef,
    WorkState,
)
from db.schema.tables import (
    ArtifactRow,
    AttemptArtifactRow,
    AttemptRow,
    DecisionRow,
    ItemRow,
    RetryRow,
    RunRow,
    WorkRow,
)
from db.state.attempt_history import ItemState, item_states
from db.state.lease_queue import IS_OPEN, counted_deaths, has_expired_lease
from deepsound.pipeline import Step
from deepsound.storage.protocol import Artifact

_CHUNK = 200

# Every step of every video runs these, and building a statement costs more than running it.
_COMPUTED = aliased(AttemptRow)  # the attempt that computed a result, the same one unless it was reused
_RESULTS = select(
    AttemptRow.id,
    AttemptRow.step,
    AttemptRow.round,
    _COMPUTED.id,
    _COMPUTED.backend,
    _COMPUTED.result,
    _COMPUTED.probability,
)
_RESULTS_BY_ATTEMPT = _RESULTS.join(
    _COMPUTED, _COMPUTED.id == func.coalesce(AttemptRow.reused_attempt_id, AttemptRow.id)
).where(AttemptRow.id.in_(bindparam("ids", expanding=True)))
_RESULT_BY_STEP_KEY = (
    _RESULTS.join(_COMPUTED, _COMPUTED.id == AttemptRow.id)
    .where(AttemptRow.step_key == bindparam("key"), AttemptRow.status == AttemptStatus.DONE.value)
    .order_by(AttemptRow.id.desc())
    .limit(1)
)
_DECISIONS = (
    select(
        DecisionRow.attempt_id, DecisionRow.position, DecisionRow.key, DecisionRow.value, DecisionRow.confidence
    )
    .where(DecisionRow.attempt_id.in_(bindparam("ids", expanding=True)))
    .order_by(DecisionRow.attempt_id, DecisionRow.position)
)
_OUTPUTS = (
    select(
        AttemptArtifactRow.attempt_id,
        AttemptArtifactRow.role,
        ArtifactRow.sha256,
        ArtifactRow.size,
        ArtifactRow.media_type,
    )
    .join(ArtifactRow, ArtifactRow.sha256 == AttemptArtifactRow.artifact_sha256)
    .where(AttemptArtifactRow.attempt_id.in_(bindparam("ids", expanding=True)))
    .where(AttemptArtifactRow.direction == Direction.OUTPUT.value)
    .order_by(AttemptArtifactRow.attempt_id, AttemptArtifactRow.role)
)


@dataclass(frozen=True, slots=True)
class OpenStep:
    """A step that is left to do. With an expired lease it counts as pending; `owner` is its latest holder."""

    item_id: int
    at: StepRef
    state: WorkState
    owner: str | None


def find_finished(session: Session, step_key: str) -> FinishedStep | None:
    """Returns the newest finished attempt with a step key, of any run. Its outputs may be gone from the store."""
    found = list(
        _finished(session, session.execute(_RESULT_BY_STEP_KEY, {"key": step_key}).tuples().all()).values()
    )
    return found[0] if found else None


def item_history(session: Session, item_id: int) -> tuple[FinishedStep, ...]:
    """Returns the latest current result of each step and round of an item, in the order of their attempts.

    A reused attempt has the result, decisions and outputs of the attempt it reused.
    """
    return item_histories(session, [item_id])[item_id]


def item_histories(session: Session, item_ids: Sequence[int]) -> dict[int, tuple[FinishedStep, ...]]:
    """Returns `item_history` of many items, by id, in a few queries."""
    histories: dict[int, tuple[FinishedStep, ...]] = {}
    for start in range(0, len(item_ids), _CHUNK):
        chunk = item_ids[start : start + _CHUNK]
        latest = {item_id: _latest(state) for item_id, state in item_states(session, chunk).items()}
        wanted = [attempt_id for of_item in latest.values() for attempt_id in of_item]
        finished = _finished(session, session.execute(_RESULTS_BY_ATTEMPT, {"ids": wanted}).tuples().all())
        histories |= {
            item_id: tuple(finished[attempt_id] for attempt_id in of_item) for item_id, of_item in latest.items()
        }
    return histories


def _latest(state: ItemState) -> list[int]:
    """Returns the id of the attempt with the latest result of each step, in the order of the attempts."""
    latest: dict[StepRef, int] = {}
    for attempt in state.attempts:
        if attempt.status != AttemptStatus.FAILED.value:
            # Removed first, so that a repeated step moves to its latest position.
            latest.pop(attempt.at, None)
            latest[attempt.at] = attempt.id
    return list(latest.values())


def item_retries(session: Session, item_ids: Sequence[int]) -> dict[int, ItemRetries]:
    """Returns the retries of items that have any, by id."""
    counts = select(RetryRow.item_id, func.count()).where(RetryRow.item_id.in_(item_ids))
    of_item = dict(session.execute(counts.group_by(RetryRow.item_id)).tuples().all())
    states = item_states(session, list(of_item))
    return {item_id: ItemRetries(number, states[item_id].recompute) for item_id, number in of_item.items()}


def deaths(session: Session, item_ids: Sequence[int]) -> dict[int, int]:
    """Returns how many workers stopped responding while they held an item's open step; only numbers above 0."""
    open_steps = select(WorkRow.item_id, counted_deaths(session)).where(WorkRow.item_id.in_(item_ids), IS_OPEN)
    return {item_id: number for item_id, number in session.execute(open_steps) if number}


def unfinished_steps(session: Session, run_id: str) -> list[OpenStep]:
    """Returns every open step of a run, in the order of its manifest."""
    columns = (
        WorkRow.item_id,
        WorkRow.step,
        WorkRow.round,
        WorkRow.state,
        WorkRow.lease_owner,
        has_expired_lease(session),
    )
    rows = session.execute(
        select(*columns)
        .join(ItemRow, WorkRow.item_id == ItemRow.id)
        .where(ItemRow.run_id == run_id, IS_OPEN)
        .order_by(ItemRow.ordinal)
    )
    return [_open_step(*row) for row in rows]


def find_open_run(session: Session, settings_sha256: str, manifest_sha256: str) -> str | None:
    """Returns the newest run with the same settings and manifest that has open steps."""
    has_work = exists().where(ItemRow.run_id == RunRow.id, WorkRow.item_id == ItemRow.id, IS_OPEN)
    same = and_(RunRow.settings_sha256 == settings_sha256, RunRow.manifest_sha256 == manifest_sha256)
    return session.scalar(select(RunRow.id).where(same, has_work).order_by(RunRow.id.desc()).limit(1))


def _open_step(
    item_id: int, step: str, number: int, state: str, owner: str | None, is_expired: bool | None
) -> OpenStep:
    at = StepRef(Step(step), number)
    return OpenStep(item_id, at, WorkState.PENDING if is_expired else WorkState(state), owner)


_ResultRow = tuple[int, str, int, int, str, dict[str, Any] | None, float | None]


def _finished(session: Session, rows: Sequence[_ResultRow]) -> dict[int, FinishedStep]:
    """Returns finished steps by attempt id, with the results, decisions and outputs of the computed attempts."""
    if not rows:
        return {}
    makers = {"ids": list({maker for _, _, _, maker, *_ in rows})}
    decided: dict[int, list[RecordedDecision]] = {}
    for attempt_id, position, key, value, confidence in session.execute(_DECISIONS, makers).tuples():
        decision = RecordedDecision(DecisionRef(attempt_id, position), key, value, confidence)
        decided.setdefault(attempt_id, []).append(decision)
    made: dict[int, dict[str, Artifact]] = {}
    for attempt_id, role, sha256, size, media_type in session.execute(_OUTPUTS, makers).tuples():
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
