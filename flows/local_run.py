"""A run driven by this process: what can be reused is taken first, and Prefect is started only for the rest.

While Prefect's server starts, models are loaded and the first videos decoded, so its start costs little time.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence

from deepsound.pipeline import OutcomeKind
from flows.outage_retry import without_outage_retry
from flows.prefect_server import PrivateServer, check_server, configured_server, use_server
from flows.progress_events import ProgressEvent, emit
from tasks.operations.run_registration import load_jobs, may_go_on, unfinished_items
from tasks.operations.sealing import seal_if_closed, seal_key
from tasks.runtime.heartbeat import worker_session
from tasks.runtime.item import ItemInProgress
from tasks.runtime.stores import StoreUrls, using_stores
from tasks.runtime.worker import Worker
from tasks.steps.runner import reuse

SERVER_STARTS = "starting the workflow engine (Prefect) for this command; the first videos are decoded meanwhile"


def drive_run(worker: Worker, place: StoreUrls, run_id: str, say: Callable[[str], None]) -> None:
    """Bring every item of a run to its end, and seal it; a run that was paused or cancelled stays as it is.

    Raises DeepSoundError where nothing can run at all.
    """
    if not may_go_on(worker, run_id):
        return
    seal_key()  # Before hours of work: one that is none would otherwise be found out after them.
    _drive(worker, place, run_id, say)
    seal_if_closed(worker, run_id)


def _drive(worker: Worker, place: StoreUrls, run_id: str, say: Callable[[str], None]) -> None:
    jobs = load_jobs(worker, run_id, unfinished_items(worker, run_id))
    if not jobs:
        return
    with worker_session(worker, run_id):
        left = [job for job in jobs if not _settle(job)]
    if left:
        _drive_with_prefect(left, place, run_id, say)


def _settle(job: ItemInProgress) -> bool:
    """Take finished steps of earlier runs for this item; True if that brings it to its end."""
    while (action := job.next_action()) is not None:
        if not reuse(job, action):
            return False
    emit(ProgressEvent(job.name, outcome=job.outcome or OutcomeKind.FAILED))
    return True


def _drive_with_prefect(
    jobs: Sequence[ItemInProgress], place: StoreUrls, run_id: str, say: Callable[[str], None]
) -> None:
    api_url = configured_server()
    if api_url is not None:
        check_server(api_url)
        use_server(api_url, private=False)
        _run_archive(place, run_id, lambda: None, say)
        return
    say(SERVER_STARTS)
    ready = threading.Event()
    with PrivateServer() as server:
        threading.Thread(target=_look_ahead, args=(jobs, ready), daemon=True).start()
        use_server(server.api_url, private=True)

        def until_ready() -> None:
            try:
                server.wait()
            finally:
                ready.set()

        _run_archive(place, run_id, until_ready, say)


def _run_archive(
    place: StoreUrls, run_id: str, until_ready: Callable[[], None], say: Callable[[str], None]
) -> None:
    # Imported only now, since Prefect reads its settings on import, and before waiting, since that takes seconds.
    from flows.run_flow import dub_archive

    until_ready()
    with using_stores(place), without_outage_retry():
        for line in asyncio.run(dub_archive(run_id)):
            say(line)


def _look_ahead(jobs: Sequence[ItemInProgress], ready: threading.Event) -> None:
    """Decode until the server is ready. What fails here fails again in its step, which says so."""
    for job in jobs:
        if ready.is_set():
            return
        try:
            job.look()
        except Exception:  # noqa: BLE001, S112 - the step that needs it fails the same way and says so
            continue
