"""Records the attempts of steps in the ledger: finished, reused and failed ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from db.schema.records import AttemptRecord, DecisionRef, Effect, FinishedStep, RecordedDecision, StepRef
from db.state.lease_owner import this_owner
from db.write import attempts
from deepsound.errors import DeepSoundError
from deepsound.pipeline import Action, OutcomeKind
from deepsound.storage.protocol import Artifact
from tasks.runtime.item import Item
from tasks.runtime.telemetry import log_attempt
from tasks.runtime.worker import Worker
from tasks.steps.contract import SoundChange, StepInputs, StepOutput


@dataclass(frozen=True, slots=True)
class PrefectRun:
    """The Prefect task run that makes an attempt: foreign ids, and its place among Prefect's tries."""

    flow_run_id: str | None = None
    task_run_id: str | None = None
    is_first_try: bool = True
    is_last_try: bool = True


LAST_TRY = PrefectRun()
"""An attempt outside Prefect, which nothing retries."""

_UNKNOWN_INPUTS = StepInputs(backend="", version="")


def new_record(worker: Worker, item: Item, action: Action, inputs: StepInputs, started: datetime) -> AttemptRecord:
    """The part of an attempt that is known before its work. `followed_by` is still the step itself."""
    at = StepRef(action.step, action.round)
    return AttemptRecord(
        item_id=item.id,
        at=at,
        followed_by=at,
        step_key=inputs.key(action.step),
        step_version=inputs.version,
        backend=inputs.backend,
        started_at=started,
        ended_at=datetime.now(UTC),
        execution_context=worker.execution_context,
        parameters=inputs.parameters,
        seed=inputs.seed,
        models=inputs.models,
        inputs=inputs.artifacts,
    )


def with_output(
    record: AttemptRecord, output: StepOutput, made: Mapping[str, Artifact], prefect: PrefectRun
) -> AttemptRecord:
    """The record of a finished attempt; `made` has its artifacts by role."""
    return replace(
        record,
        template=output.template,
        prompt=output.prompt,
        frames=output.frames,
        raw_output=output.raw,
        parser_version=output.parser_version,
        result=output.result,
        probability=output.probability,
        outputs=made,
        thoughts=output.thoughts,
        decisions=output.decisions,
        effects=[_effect(change, made) for change in output.changes],
        prefect_flow_run_id=prefect.flow_run_id,
        prefect_task_run_id=prefect.task_run_id,
    )


def record_finished(worker: Worker, item: Item, record: AttemptRecord, finished: FinishedStep) -> Item:
    """Write a finished or reused attempt together with the step or outcome that follows it.

    Returns the item with the finished step. Raises DeepSoundError (LEDGER_*, LEASE_LOST).
    """
    following = item.with_step(finished).next_action()
    followed_by = (
        OutcomeKind(str(finished.result["outcome"]))
        if following is None
        else StepRef(following.step, following.round)
    )
    with worker.ledger.write() as session:
        attempt_id = attempts.record_attempt(session, replace(record, followed_by=followed_by), this_owner())
    log_attempt(item, record, attempt_id)
    if record.reused_attempt_id is None:
        decisions = _recorded_decisions(attempt_id, record)
        finished = replace(finished, attempt_id=attempt_id, decisions=decisions)
    return item.with_step(finished)


def record_failure(
    worker: Worker,
    item: Item,
    action: Action,
    failure: DeepSoundError,
    *,
    inputs: StepInputs | None = None,
    started: datetime | None = None,
    prefect: PrefectRun = LAST_TRY,
) -> None:
    """Write a failed attempt. It ends the item unless Prefect will try the step again.

    `inputs` is None where the failure came before they were known. Inputs that the ledger can't hold are left out
    of the record. Raises DeepSoundError (LEDGER_*, LEASE_LOST).
    """
    at = StepRef(action.step, action.round)
    is_tried_again = failure.is_retryable and not prefect.is_last_try
    record = new_record(worker, item, action, inputs or _UNKNOWN_INPUTS, started or datetime.now(UTC))
    record = replace(
        record,
        followed_by=at if is_tried_again else OutcomeKind.FAILED,
        step_key=record.step_key if inputs else None,
        failure=failure,
        prefect_flow_run_id=prefect.flow_run_id,
        prefect_task_run_id=prefect.task_run_id,
    )
    try:
        with worker.ledger.write() as session:
            attempt_id = attempts.record_attempt(session, record, this_owner())
    except DeepSoundError:
        raise
    except Exception:
        if inputs is None:
            raise
        record_failure(worker, item, action, failure, started=started, prefect=prefect)
        return
    log_attempt(item, record, attempt_id)


def _effect(change: SoundChange, made: Mapping[str, Artifact]) -> Effect:
    return Effect(
        operation=change.operation,
        span=change.span,
        before_sha256=change.before,
        after_sha256=made[change.made].sha256 if change.made else change.replaced_by,
        decision=change.because,
        speech_seconds=change.speech_seconds,
        speech_level=change.speech_level,
        loudness=change.loudness,
    )


def _recorded_decisions(attempt_id: int, record: AttemptRecord) -> tuple[RecordedDecision, ...]:
    return tuple(
        RecordedDecision(DecisionRef(attempt_id, position), decision.key, decision.value, decision.confidence)
        for position, decision in enumerate(record.decisions)
    )
