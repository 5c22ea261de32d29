"""Reads whether a run may continue, and which of its items are unfinished."""

from db.read import queries
from db.read.run_state import RunState, run_state
from tasks.runtime.worker import Worker


def is_active(worker: Worker, run_id: str) -> bool:
    """Whether the run is neither paused nor cancelled nor out of its budget. Raises DeepSoundError (LEDGER_*)."""
    with worker.ledger.read() as session:
        return run_state(session, run_id) is RunState.ACTIVE


def stop_reason(worker: Worker, run_id: str) -> str | None:
    """One line that says why the run is stopped, and the command that resumes it; None while it is active."""
    with worker.ledger.read() as session:
        state = run_state(session, run_id)
    if state is RunState.ACTIVE:
        return None
    return f"run {run_id} is {state}, so nothing of it is done; `deepsound run resume {run_id}` resumes it"


def unfinished_items(worker: Worker, run_id: str) -> list[int]:
    """Ids of the items of a run that have not ended, in the order of its manifest."""
    with worker.ledger.read() as session:
        return list(dict.fromkeys(step.item_id for step in queries.unfinished_steps(session, run_id)))
