"""The frame around every step: look in the ledger, do the work, keep what was made, write it down.

Order of a write: bytes to the store under their hash, results to their place, then
one transaction with all that is known about the attempt. A crash in between leaves an unreferenced blob,
never a row without its bytes.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from db.read import queries
from db.schema.records import AttemptRecord, DecisionRef, Effect, FinishedStep, RecordedDecision, StepRef
from db.state.lease_owner import this_owner
from db.state.lease_queue import Lease, claim
from db.write import attempts
from db.write.worker_sessions import lease_seconds
from deepsound.errors import (
    DeepSoundError,
    DiskFullError,
    ErrorCode,
    InternalError,
    LeaseLostError,
    MemoryExhaustedError,
    QuarantinedError,
    is_disk_full,
    is_out_of_memory,
)
from deepsound.pipeline import Action, OutcomeKind, Step
from deepsound.storage.protocol import Artifact
from tasks.delivery.deliver import deliver
from tasks.runtime.fault_points import fault_point
from tasks.runtime.item import ItemInProgress
from tasks.runtime.licence_policy import check_weights
from tasks.runtime.telemetry import tell_attempt
from tasks.steps import check_silence, fall_back, generate, judge, plan, publish, separate
from tasks.steps.contract import SoundChange, StepInputs, StepOutput

log = logging.getLogger(__name__)


class _StepModule(NamedTuple):
    inputs: Callable[[ItemInProgress, Action], StepInputs]
    execute: Callable[[ItemInProgress, Action, Path], StepOutput]


_STEPS = {
    Step.PLAN: _StepModule(plan.inputs, plan.execute),
    Step.GENERATE: _StepModule(generate.inputs, generate.execute),
    Step.JUDGE: _StepModule(judge.inputs, judge.execute),
    Step.SEPARATE: _StepModule(separate.inputs, separate.execute),
    Step.CHECK_SILENCE: _StepModule(check_silence.inputs, check_silence.execute),
    Step.FALL_BACK: _StepModule(fall_back.inputs, fall_back.execute),
    Step.PUBLISH: _StepModule(publish.inputs, publish.execute),
}

DEATHS_ALLOWED = 1
"""One worker may have vanished for another reason; a video that two vanished at is set aside."""


@dataclass(frozen=True, slots=True)
class PrefectRun:
    """Foreign references to Prefect's own records, and where this try stands among those it would make."""

    flow_run_id: str | None = None
    task_run_id: str | None = None
    is_first_try: bool = True
    is_last_try: bool = True


LAST_TRY = PrefectRun()

_UNKNOWN = StepInputs(backend="", version="")
"""Of a step that failed before its inputs were known."""


def reuse(job: ItemInProgress, action: Action) -> bool:
    """Take a finished attempt with the same step key for the result, if its outputs are all there.

    False where there is none, or something is in the way; `perform` then meets that and says what it is.
    """
    if _at(action) in job.retries.recompute:
        return False
    started = datetime.now(UTC)
    try:
        inputs = _STEPS[action.step].inputs(job, action)
        check_weights(job, action, inputs)
        with job.worker.ledger.read() as session:
            found = queries.find_finished(session, inputs.key(action.step))
        if found is None or not all(job.worker.store.has(made.sha256) for made in found.outputs.values()):
            return False
        found = replace(found, at=_at(action))
        _claim(job, action)
        if action.step is Step.PUBLISH:
            deliver(job, found)
        record = replace(_begun(job, action, inputs, started), reused_attempt_id=found.attempt_id)
        _finish(job, action, record, found)
    except Exception as error:  # noqa: BLE001 - whatever it is, `perform` meets it again and writes it down
        log.debug("%s of %s is not reused: %s", action.step, job.name, error)
        return False
    return True


def perform(job: ItemInProgress, action: Action, prefect: PrefectRun) -> None:
    """Do a step and write it down.

    Raises DeepSoundError once the failure is written down, and with nothing written where the step is another
    worker's (LEASE_LOST).
    """
    started = datetime.now(UTC)
    inputs: StepInputs | None = None
    module = _STEPS[action.step]
    lease = _claim(job, action)
    try:
        _check_deaths(job, action, lease.deaths)
        fault_point(f"{action.step}.begun", job.name)
        inputs = module.inputs(job, action)
        check_weights(job, action, inputs)
        if inputs.video is not None:
            job.check_source()
        with job.worker.scratch() as scratch:
            output = module.execute(job, action, scratch)
            if inputs.video is not None:
                # Once more, or what was read while somebody wrote would be found by the hash of what was there.
                job.check_source()
            fault_point(f"{action.step}.executed", job.name)
            made = {role: job.worker.store.put(file.path, file.media_type) for role, file in output.files.items()}
        fault_point(f"{action.step}.stored", job.name)
        finished = FinishedStep(
            at=_at(action),
            attempt_id=0,
            backend=inputs.backend,
            result=output.result,
            probability=output.probability,
            decisions=(),
            outputs=made,
        )
        if action.step is Step.PUBLISH:
            # Whoever was held up for longer than a lease would write over what its successor delivered.
            _claim(job, action)
            deliver(job, finished)
            fault_point("publish.delivered", job.name)
        record = _completed(_begun(job, action, inputs, started), output, made, prefect)
        _finish(job, action, record, finished)
        fault_point(f"{action.step}.recorded", job.name)
    except Exception as error:
        failure = as_failure(error, job)
        if failure.code is ErrorCode.LEASE_LOST:
            raise
        log.info("%s of %s failed: %s", action.step, job.name, failure, exc_info=error)
        fail(job, action, failure, inputs=inputs, started=started, prefect=prefect)
        raise failure from error


def fail(
    job: ItemInProgress,
    action: Action,
    failure: DeepSoundError,
    *,
    inputs: StepInputs | None = None,
    started: datetime | None = None,
    prefect: PrefectRun = LAST_TRY,
) -> None:
    """Write down that a step failed; the item ends with it unless it will be tried again.

    Where the ledger can't hold what the step was asked, it is left out: a row without it is better than none.
    """
    again = failure.is_retryable and not prefect.is_last_try
    begun = _begun(job, action, inputs or _UNKNOWN, started or datetime.now(UTC))
    record = replace(
        begun,
        followed_by=_at(action) if again else OutcomeKind.FAILED,
        step_key=begun.step_key if inputs else None,
        failure=failure,
        prefect_flow_run_id=prefect.flow_run_id,
        prefect_task_run_id=prefect.task_run_id,
    )
    try:
        with job.worker.ledger.write() as session:
            attempt = attempts.record_attempt(session, record, this_owner())
    except DeepSoundError:
        raise
    except Exception:
        if inputs is None:
            raise
        fail(job, action, failure, started=started, prefect=prefect)
        return
    tell_attempt(job, record, attempt)


def as_failure(error: Exception, job: ItemInProgress) -> DeepSoundError:
    """Any exception as one line with a code; the step is a column of its own."""
    where = str(job.source)
    match error:
        case DeepSoundError():
            return error
        case _ if is_out_of_memory(error):
            return MemoryExhaustedError("out of memory", where=where)
        case OSError() if is_disk_full(error):
            return DiskFullError("the disk is full", where=where)
        case _:
            return InternalError(f"{type(error).__name__}: {error}", where=where)


def _at(action: Action) -> StepRef:
    return StepRef(action.step, action.round)


def _begun(job: ItemInProgress, action: Action, inputs: StepInputs, started: datetime) -> AttemptRecord:
    """What is known of an attempt before its work; `then` is filled in when it ends."""
    return AttemptRecord(
        item_id=job.item_id,
        at=_at(action),
        followed_by=_at(action),
        step_key=inputs.key(action.step),
        step_version=inputs.version,
        backend=inputs.backend,
        started_at=started,
        ended_at=datetime.now(UTC),
        execution_context=job.worker.execution_context,
        parameters=inputs.parameters,
        seed=inputs.seed,
        models=inputs.models,
        inputs=inputs.artifacts,
    )


def _completed(
    begun: AttemptRecord, output: StepOutput, made: Mapping[str, Artifact], prefect: PrefectRun
) -> AttemptRecord:
    return replace(
        begun,
        ended_at=datetime.now(UTC),
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


def _finish(job: ItemInProgress, action: Action, record: AttemptRecord, finished: FinishedStep) -> None:
    """Write a finished attempt down with what follows it, and remember it in the job."""
    at = _at(action)
    after = job.after({**job.done, at: finished})
    then = OutcomeKind(str(finished.result["outcome"])) if after is None else _at(after)
    with job.worker.ledger.write() as session:
        attempt = attempts.record_attempt(session, replace(record, followed_by=then), this_owner())
    tell_attempt(job, record, attempt)
    if record.reused_attempt_id is None:
        finished = replace(finished, attempt_id=attempt, decisions=_made_decisions(attempt, record))
    job.done[at] = finished


def _made_decisions(attempt: int, record: AttemptRecord) -> tuple[RecordedDecision, ...]:
    return tuple(
        RecordedDecision(DecisionRef(attempt, position), decision.key, decision.value, decision.confidence)
        for position, decision in enumerate(record.decisions)
    )


def _claim(job: ItemInProgress, action: Action) -> Lease:
    """Take the step's lease. Raises DeepSoundError (LEASE_LOST) where it is not this worker's to take."""
    with job.worker.ledger.write() as session:
        lease = claim(session, job.item_id, _at(action), this_owner(), lease_seconds(), retries=job.retries.count)
    if lease is None:
        raise LeaseLostError(
            f"another process is at its {action.step} step",
            where=job.name,
            remedy="wait for that one, or run the same command again once it has ended",
        )
    return lease


def _check_deaths(job: ItemInProgress, action: Action, deaths: int) -> None:
    """Raise DeepSoundError (QUARANTINED) where this step would most likely kill one more worker."""
    if deaths > DEATHS_ALLOWED:
        raise QuarantinedError(
            f"{action.step} killed its worker twice and was set aside",
            where=str(job.source),
            remedy=f"look at the file, then `deepsound run retry {job.run_id} --error {ErrorCode.QUARANTINED}`",
        )
