"""A run as people name it: by its id, or by how that begins."""

from console.cli.settings import Settings, settings_from
from db.read.items import run_ids
from deepsound.errors import BadSettingsError
from tasks.runtime.worker import Worker, open_existing_worker


def place_of(db: str | None, store: str | None = None) -> tuple[Settings, Worker]:
    """Settings and books of a command on what is there. Raises DeepSoundError (BAD_SETTINGS, LEDGER_*)."""
    settings = settings_from(db=db, store=store)
    return settings, open_existing_worker(settings.place)


def look_up_run(worker: Worker, known: str) -> str:
    """The full id. Raises DeepSoundError (BAD_SETTINGS) where no run, or more than one, begins so."""
    with worker.ledger.read() as session:
        found = [run for run in run_ids(session) if run.startswith(known)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} runs begin with {known!r}" if found else f"there is no run {known!r}"
    raise BadSettingsError(what, where=worker.ledger.url, remedy="see `deepsound run list`, and check --db")
