"""Registers a run in the ledger, or finds the unfinished run of the same settings and manifest."""

from collections.abc import Callable, Sequence

from db.read import queries
from db.state.lease_queue import release_dead
from db.write import runs
from tasks.operations.run_sources import read_sources
from tasks.runtime.run_settings import RunSettings, Source
from tasks.runtime.worker import Worker


def begin_run(
    worker: Worker, settings: RunSettings, sources: Sequence[Source], on_read: Callable[[Source], None]
) -> tuple[str, bool]:
    """Register a run of these sources, or find the unfinished run that has the same settings and manifest.

    Returns the run's id, and whether it is an unfinished one. `on_read` is called after each source is hashed.
    Raises DeepSoundError (BAD_SETTINGS, LEDGER_*, STORE_*).
    """
    run = read_sources(worker, settings, sources, on_read)
    with worker.ledger.write() as session:
        open_run = queries.find_open_run(session, run.settings_sha256, run.manifest_sha256)
        if open_run is None:
            return runs.register_run(session, run), False
        release_dead(session, open_run)
        return open_run, True
