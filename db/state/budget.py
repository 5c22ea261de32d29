"""What workers may spend on a run: its budget, granted again by each `resume` after it was spent."""

from sqlalchemy.orm import Session

from db.write.run_events import EventKind, RunState, record_event, run_events, run_state
from db.write.worker_sessions import worker_seconds


def pause_if_budget_spent(session: Session, run_id: str, budget_hours: float, *, by: str) -> bool:
    """Pause a run that may go on and whose workers spent its budget; True: it was.

    Counted from where it was spent last, in the hours written down then: clocks of machines, by which events are
    dated, may be wrong. Raises DeepSoundError (BAD_SETTINGS: no such run).
    """
    if run_state(session, run_id) is not RunState.ACTIVE:
        return False
    spent = worker_seconds(session, run_id) / 3600
    before = [event.details for event in run_events(session, run_id) if event.kind is EventKind.BUDGET_SPENT]
    known = before[-1].get("spent_hours") if before else 0.0
    if spent < (float(known) if isinstance(known, int | float) else 0.0) + budget_hours:
        return False
    details = {"spent_hours": round(spent, 3), "budget_gpu_hours": budget_hours}
    record_event(session, run_id, EventKind.BUDGET_SPENT, by=by, details=details)
    return True
