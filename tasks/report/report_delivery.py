"""The report of a run beside its results, where a link can lead to it."""

from db.read.items import find_run
from deepsound.canonical_json import sha256_file
from deepsound.storage.location import InBucket
from tasks.delivery.output_target import writable
from tasks.operations.run_activity import no_such_run
from tasks.report.build import write_report
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.scratch_folder import scratch_folder
from tasks.runtime.worker import Worker


def deliver_report(worker: Worker, run_id: str) -> str:
    """Write `report-RUN.html` to where the run's results go, in place of an earlier one; the URL that opens it.

    Only what is not done is shown at length. Raises DeepSoundError (BAD_SETTINGS: no such run; LEDGER_*, STORE_*,
    OUTPUT_NOT_WRITABLE, DISK_FULL).
    """
    with worker.ledger.read() as session:
        run = find_run(session, run_id)
    if run is None:
        raise no_such_run(run_id, worker)
    place = RunSettings.from_json(run.settings).out / f"report-{run_id}.html"
    if isinstance(place, InBucket):
        return _uploaded(worker, run_id, place)
    with writable(place.parent):
        write_report(worker, [run_id], place, done_too=False)
    return place.absolute().as_uri()


def _uploaded(worker: Worker, run_id: str, place: InBucket) -> str:
    # Here, since only buckets need the client and the time its import takes.
    from deepsound.storage.bucket_files import link_to, upload_file

    with scratch_folder() as scratch:
        page = scratch / "report.html"
        write_report(worker, [run_id], page, done_too=False)
        upload_file(page, place, "text/html; charset=utf-8", sha256_file(page))
    return link_to(place)
