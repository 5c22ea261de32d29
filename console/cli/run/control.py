"""`deepsound run pause`, `resume` and `cancel`: each records an event, which workers obey at their next step."""

from console.cli import options
from console.cli.run.continue_run import continue_run
from console.cli.run.run_lookup import look_up_run
from console.cli.setting_flags import LedgerOnly, with_setting_flags
from console.cli.terminal import out, say
from db.read.run_state import run_state
from db.schema.run_records import EventKind
from db.write.run_events import record_event
from tasks.runtime.actor import current_actor
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import Worker, open_existing_worker


@with_setting_flags
def pause(run: options.Run, *, reason: options.Reason = None, stores: LedgerOnly) -> None:
    """Stop a run after the steps in progress; `run resume` continues it."""
    worker = open_existing_worker(stores)
    run_id = look_up_run(worker, run)
    _record(worker, run_id, EventKind.PAUSED, reason)
    say(f"workers stop after the step they are at; `deepsound run resume {run_id}` continues the run")


@with_setting_flags
def cancel(run: options.Run, *, reason: options.Reason = None, stores: LedgerOnly) -> None:
    """Stop a run after the steps in progress. Finished work is kept, and `run resume` can still continue it."""
    worker = open_existing_worker(stores)
    _record(worker, look_up_run(worker, run), EventKind.CANCELLED, reason)


@with_setting_flags
def resume(run: options.Run, *, reason: options.Reason = None, stores: StoreUrls) -> None:
    """Continue a run that was paused or cancelled, that spent its budget, or that no flow follows.

    A run that spent its budget gets the same budget again.
    """
    worker = open_existing_worker(stores)
    run_id = look_up_run(worker, run)
    _record(worker, run_id, EventKind.RESUMED, reason)
    continue_run(worker, stores, run_id)


def _record(worker: Worker, run_id: str, kind: EventKind, reason: str | None) -> None:
    with worker.ledger.write() as session:
        record_event(session, run_id, kind, by=current_actor(), reason=reason)
        state = run_state(session, run_id)
    out.print(f"run {run_id} is {state}", markup=False)
