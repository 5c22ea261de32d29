"""Runs a run in this process. Finished steps are reused first; Prefect starts only if steps remain.

Models are loaded and the first videos decoded while Prefect's server starts, which hides its start-up time.
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

SERVER_STARTS = "starting the workflow engine (Prefect) for this command and decoding the first videos"


def drive_run(worker: Worker, place: StoreUrls, run_id: str, say: Callable[[str], None]) -> None:
    """Processes every unfinished item of a run, then seals the run. Leaves a paused or cancelled run unchanged.

    A video that fails is recorded in the ledger. Raises DeepSoundError only if no video can be processed.
    """
    if not is_active(worker, run_id):
        return
    seal_key()  # Reports an unusable key before hours of work, not after them.
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
    """Reuses finished attempts with the same step keys, until a step has none."""
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
    # Imported here because Prefect reads its settings on import; before the wait because the import takes seconds.
    from flows.run_flow import dub_archive

    until_ready()
    with using_stores(place), without_outage_retry():
        for line in asyncio.run(dub_archive(run_id)):
            say(line)


def _decode_ahead(worker: Worker, items: Sequence[Item], ready: threading.Event) -> None:
    """Decodes videos until the server is ready. A failure here repeats in the plan step, which records it."""
    for item in items:
        if ready.is_set():
            return
        try:
            decode_footage(item, worker.store, worker.footage)
        except Exception:  # noqa: BLE001, S112 - the plan step fails the same way and records it
            continue
