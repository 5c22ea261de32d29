"""A worker process at work on a run: entered in the ledger, seen alive by a heartbeat that renews its leases."""

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from db.state.lease_owner import this_owner
from db.write.worker_sessions import (
    NO_DEVICE,
    begin_worker_session,
    end_worker_session,
    lease_seconds,
    record_heartbeat,
)
from deepsound.errors import DeepSoundError
from tasks.runtime.worker import Worker

log = logging.getLogger(__name__)

_BEATS_A_LEASE = 4
"""A lease outlives three beats that fail."""


@contextmanager
def worker_session(
    worker: Worker, run_id: str, flow_run_id: str | None = None, *, follows_only: bool = False
) -> Generator[None]:
    """Steps of the run that this process takes inside the block stay its own for as long as it lives.

    One that only follows others takes none, and its time is not counted. What it still holds when the block ends,
    however it ends, is open again at once; of a process that is killed, when the leases run out. Raises
    DeepSoundError (LEDGER_*) where the shift can't begin.
    """
    owner = this_owner()
    context = worker.execution_context
    if follows_only:
        context = replace(context, device=NO_DEVICE)
    with worker.ledger.write() as session:
        shift = begin_worker_session(session, run_id, owner, context, flow_run_id)
    over = threading.Event()
    beating = threading.Thread(
        target=_keep_beating, args=(worker, shift, owner, over), name="heartbeat", daemon=True
    )
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        _leave(worker, shift, owner)


def _keep_beating(worker: Worker, shift: int, owner: str, over: threading.Event) -> None:
    while not over.wait(lease_seconds() / _BEATS_A_LEASE):
        try:
            with worker.ledger.write() as session:
                record_heartbeat(session, shift, owner)
        except Exception as error:  # noqa: BLE001 - without beats every lease is lost, whatever went wrong with one
            log.warning("no heartbeat: %s", error)


def _leave(worker: Worker, shift: int, owner: str) -> None:
    try:
        with worker.ledger.write() as session:
            end_worker_session(session, shift, owner)
    except DeepSoundError as error:
        log.warning("the end of a shift is not written down, its leases run out by themselves: %s", error)
