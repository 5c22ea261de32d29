"""A run driven by this process: what can be reused is taken first, and Prefect is started only for the rest.

While Prefect's server starts, models are loaded and the first videos decoded, so its start costs little time.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence

from flows.outage_retry import without_outage_retry
from flows.prefect_server import PrivateServer, check_server, configured_server, use_server
from flows.progress_events import ProgressEvent, emit
from tasks.operations.item_loading import load_items
from tasks.operations.run_activity import is_active, unfinished_items
from tasks.operations.sealing import seal_if_closed, seal_key
from tasks.runtime.heartbeat import worker_session
from tasks.runtime.item import Item
from tasks.runtime.item_footage import decode_footage
from tasks.runtime.stores import StoreUrls, using_stores
from tasks.runtime.worker import Worker
from tasks.steps.runner import reuse_step

SERVER_STARTS = "starting the workflow engine (Prefect) for this command; the first videos are decoded meanwhile"


def drive_run(worker: Worker, place: StoreUrls, run_id: str, say: Callable[[str], None]) -> None:
    """Bring every item of a run to its end, and seal it; a run that was paused or cancelled stays as it is.

    Raises DeepSoundError where nothing can run at all.
    """
    if not is_active(worker, run_id):
        return
    seal_key()  # Before hours of work: one that is none would otherwise be found out after them.
    _drive(worker, place, run_id, say)
    seal_if_closed(worker, run_id)


def _drive(worker: Worker, place: StoreUrls, run_id: str, say: Callable[[str], None]) -> None:
    items = load_items(worker, run_id, unfinished_items(worker, run_id))
    if not items:
        return
    with worker_session(worker, run_id):
        reused = [_reuse_steps(worker, item) for item in items]
    unfinished = [item for item in reused if item.outcome is None]
    if unfinished:
        _drive_with_prefect(worker, unfinished, place, run_id, say)


def _reuse_steps(worker: Worker, item: Item) -> Item:
    """Reuse finished attempts with the same step keys for as many steps as there are."""
    while (action := item.next_action()) is not None:
        reused = reuse_step(worker, item, action)
        if reused is None:
            return item
        item = reused
    emit(ProgressEvent(item.name, outcome=item.outcome))
    return item


def _drive_with_prefect(
    worker: Worker, items: Sequence[Item], place: StoreUrls, run_id: str, say: Callable[[str], None]
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
        threading.Thread(target=_decode_ahead, args=(worker, items, ready), daemon=True).start()
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


def _decode_ahead(worker: Worker, items: Sequence[Item], ready: threading.Event) -> None:
    """Decode until the server is ready. What fails here fails again in its step, which says so."""
    for item in items:
        if ready.is_set():
            return
        try:
            decode_footage(item, worker.store, worker.footage)
        except Exception:  # noqa: BLE001, S112 - the step that needs it fails the same way and says so
            continue
