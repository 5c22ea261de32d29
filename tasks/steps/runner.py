"""Runs one step of one item, or reuses a finished attempt with the same step key.

The order of writes: artifacts go to the store, published files to the output target, then one transaction records
the attempt. A crash between two of these leaves an unreferenced artifact, never a row without its bytes.
"""

import logging
from dataclasses import replace
from datetime import UTC, datetime

from db.read import queries
from db.schema.records import AttemptRecord, FinishedStep, StepRef
from deepsound.errors import (
    DeepSoundError,
    DiskFullError,
    ErrorCode,
    InternalError,
    MemoryExhaustedError,
    is_disk_full,
    is_out_of_memory,
)
from deepsound.pipeline import Action, Step
from tasks.delivery.deliver import deliver
from tasks.runtime.fault_points import fault_point
from tasks.runtime.item import Item
from tasks.runtime.licence_policy import check_weights
from tasks.runtime.scratch_folder import scratch_folder
from tasks.runtime.source_access import check_source
from tasks.runtime.worker import Worker
from tasks.steps.claim import check_quarantine, claim_step
from tasks.steps.contract import StepContext, StepInputs
from tasks.steps.recording import PrefectRun, new_record, record_failure, record_finished, with_output
from tasks.steps.registry import STEPS

log = logging.getLogger(__name__)


def reuse_step(worker: Worker, item: Item, action: Action) -> Item | None:
    """Record a finished attempt with the same step key as the result, if the store has all its outputs.

    Returns the item with the finished step. Returns None where no attempt can be reused, or where anything fails:
    `run_step` then meets the same failure and records it.
    """
    at = StepRef(action.step, action.round)
    if at in item.retries.recompute:
        return None
    started = datetime.now(UTC)
    try:
        inputs = STEPS[action.step].inputs(item, action)
        check_weights(item.settings, action.step, inputs.models)
        with worker.ledger.read() as session:
            found = queries.find_finished(session, inputs.key(action.step))
        if found is None or not all(worker.store.has(made.sha256) for made in found.outputs.values()):
            return None
        found = replace(found, at=at)
        claim_step(worker, item, action)
        if action.step is Step.PUBLISH:
            deliver(item, found, worker.store)
        record = new_record(worker, item, action, inputs, started)
        return record_finished(worker, item, replace(record, reused_attempt_id=found.attempt_id), found)
    except Exception as error:  # noqa: BLE001 - `run_step` meets whatever it is again, and records it
        log.debug("%s of %s is not reused: %s", action.step, item.name, error)
        return None


def run_step(worker: Worker, item: Item, action: Action, prefect: PrefectRun) -> Item:
    """Do a step and record it. Returns the item with the finished step.

    Raises DeepSoundError once the failed attempt is recorded. LEASE_LOST is raised without a record, since another
    worker has the step.
    """
    started = datetime.now(UTC)
    inputs: StepInputs | None = None
    lease = claim_step(worker, item, action)
    try:
        check_quarantine(item, action, lease)
        fault_point(f"{action.step}.begun", item.name)
        inputs = STEPS[action.step].inputs(item, action)
        check_weights(item.settings, action.step, inputs.models)
        record, finished = _execute(worker, item, action, inputs, started, prefect)
        if action.step is Step.PUBLISH:
            # A worker that was stopped for longer than its lease would overwrite its successor's results.
            claim_step(worker, item, action)
            deliver(item, finished, worker.store)
            fault_point("publish.delivered", item.name)
        done = record_finished(worker, item, replace(record, ended_at=datetime.now(UTC)), finished)
        fault_point(f"{action.step}.recorded", item.name)
    except Exception as error:
        failure = as_failure(error, str(item.source))
        if failure.code is ErrorCode.LEASE_LOST:
            raise
        log.info("%s of %s failed: %s", action.step, item.name, failure, exc_info=error)
        record_failure(worker, item, action, failure, inputs=inputs, started=started, prefect=prefect)
        raise failure from error
    return done


def as_failure(error: Exception, source: str) -> DeepSoundError:
    """Any exception of a step on this source as a DeepSoundError, whose message is one line."""
    match error:
        case DeepSoundError():
            return error
        case _ if is_out_of_memory(error):
            return MemoryExhaustedError("out of memory", where=source)
        case OSError() if is_disk_full(error):
            return DiskFullError("the disk is full", where=source)
        case _:
            return InternalError(f"{type(error).__name__}: {error}", where=source)


def _execute(
    worker: Worker, item: Item, action: Action, inputs: StepInputs, started: datetime, prefect: PrefectRun
) -> tuple[AttemptRecord, FinishedStep]:
    """Do the work of a step and store its artifacts."""
    if inputs.video is not None:
        check_source(item, worker.store)
    with scratch_folder() as scratch:
        output = STEPS[action.step].execute(StepContext(item, action, worker.store, worker.footage, scratch))
        if inputs.video is not None:
            # A source that changed while the step read it would give a result under the old bytes' step key.
            check_source(item, worker.store)
        fault_point(f"{action.step}.executed", item.name)
        made = {role: worker.store.put(file.path, file.media_type) for role, file in output.files.items()}
    fault_point(f"{action.step}.stored", item.name)
    finished = FinishedStep(
        at=StepRef(action.step, action.round),
        attempt_id=0,
        backend=inputs.backend,
        result=output.result,
        probability=output.probability,
        decisions=(),
        outputs=made,
    )
    return with_output(new_record(worker, item, action, inputs, started), output, made, prefect), finished
