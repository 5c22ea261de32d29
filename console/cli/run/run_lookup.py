"""Finds a run by its id or by the beginning of one."""

from db.read.items import run_ids
from db.schema.database import no_such_run
from deepsound.errors import BadSettingsError
from tasks.runtime.worker import Worker


def look_up_run(worker: Worker, prefix: str) -> str:
    """The full id. Raises DeepSoundError (BAD_SETTINGS) if no run, or more than one, begins so."""
    with worker.ledger.read() as session:
        found = [run for run in run_ids(session) if run.startswith(prefix)]
        if not found:
            raise no_such_run(session, prefix)
    if len(found) > 1:
        raise BadSettingsError(
            f"{len(found)} runs begin with {prefix!r}",
            where=worker.ledger.url,
            remedy="give more of the id; `deepsound run list` shows all",
        )
    return found[0]
