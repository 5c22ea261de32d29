"""Writes the report of a run into the folder or bucket of its results."""

from db.read.items import find_run
from db.schema.database import no_such_run
from deepsound.canonical_json import sha256_file
from tasks.report.build import write_report
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.scratch_folder import scratch_folder
from tasks.runtime.worker import Worker


def deliver_report(worker: Worker, run_id: str) -> str:
    """Put `report-RUN.html` beside the run's results, replacing an earlier one; returns a URL that opens it.

    Only videos that are not done are shown at length. Raises DeepSoundError (BAD_SETTINGS: no such run; LEDGER_*,
    STORE_*, OUTPUT_NOT_WRITABLE, DISK_FULL).
    """
    with worker.ledger.read() as session:
        run = find_run(session, run_id)
        if run is None:
            raise no_such_run(session, run_id)
    target = RunSettings.from_json(run.settings).out / f"report-{run_id}.html"
    with scratch_folder() as folder:
        page = folder / "report.html"
        write_report(worker, [run_id], page, folder=target.parent.path, with_done=False)
        target.put(page, "text/html; charset=utf-8", sha256_file(page))
    return target.link()
