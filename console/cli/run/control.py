"""`deepsound run pause|resume|cancel`: what is decided is written down, and workers obey within a step."""

from console.cli import options
from console.cli.run.continue_run import go_on
from console.cli.run.run_lookup import look_up_run, place_of
from console.cli.terminal import out, say
from db.write.run_events import EventKind, record_event, run_state
from tasks.runtime.actor import current_actor
from tasks.runtime.worker import Worker


def pause(run: options.Run, reason: options.Reason = None, db: options.Db = None) -> None:
    """Stop after the steps at hand; `run resume` goes on."""
    _, worker = place_of(db)
    run_id = look_up_run(worker, run)
    _note(worker, run_id, EventKind.PAUSED, reason)
    say(f"workers stop within a step; `deepsound run resume {run_id}` goes on where they stopped")


def cancel(run: options.Run, reason: options.Reason = None, db: options.Db = None) -> None:
    """Stop after the steps at hand, for good; nothing done is lost, and `run resume` still works."""
    _, worker = place_of(db)
    _note(worker, look_up_run(worker, run), EventKind.CANCELLED, reason)


def resume(
    run: options.Run, reason: options.Reason = None, db: options.Db = None, store: options.Store = None
) -> None:
    """Go on with a run that was paused, cancelled, out of budget (granted once more), or followed by nobody."""
    settings, worker = place_of(db, store)
    run_id = look_up_run(worker, run)
    _note(worker, run_id, EventKind.RESUMED, reason)
    go_on(worker, settings, run_id)


def _note(worker: Worker, run_id: str, kind: EventKind, reason: str | None) -> None:
    with worker.ledger.write() as session:
        record_event(session, run_id, kind, by=current_actor(), reason=reason)
        state = run_state(session, run_id)
    out.print(f"run {run_id} is {state}", markup=False)
