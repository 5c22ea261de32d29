"""The runs that an audit is about: the ones named on the command line, or every run of the ledger."""

from collections.abc import Sequence

from db.read.items import run_ids
from db.schema.database import no_such_run
from deepsound.errors import BadSettingsError
from tasks.runtime.worker import Worker


def selected_runs(worker: Worker, named: Sequence[str] | None, *, may_be_none: bool = False) -> list[str]:
    """The ids of the named runs, or of all.

    Raises DeepSoundError (BAD_SETTINGS) for an unknown id and, unless `may_be_none`, for a ledger without runs: an
    audit of nothing must not pass.
    """
    with worker.ledger.read() as session:
        in_ledger = run_ids(session)
        for run_id in named or ():
            if run_id not in in_ledger:
                raise no_such_run(session, run_id)
    if not in_ledger and not may_be_none:
        what, remedy = "there is no run in this ledger", "check --db and DEEPSOUND_DB"
        raise BadSettingsError(what, where=worker.ledger.url, remedy=remedy)
    return list(named or in_ledger)
