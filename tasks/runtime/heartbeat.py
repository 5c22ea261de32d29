"""Registers this process as a worker of a run in the ledger, and renews its leases while it works."""

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from db.read.worker_status import NO_DEVICE
from db.state.lease_owner import lease_seconds, this_owner
from db.write.worker_sessions import begin_worker_session, end_worker_session, record_heartbeat
from deepsound.errors import DeepSoundError
from tasks.runtime.worker import Worker

log = logging.getLogger(__name__)

_BEATS_PER_LEASE = 4
"""A lease outlives three heartbeats that fail."""


@contextmanager
def worker_session(
    worker: Worker, run_id: str, flow_run_id: str | None = None, *, follows_only: bool = False
) -> Generator[None]:
    """Keep the leases that this process takes inside the block.

    `follows_only` is for a process that follows the run and does no steps; its time does not count as used. When
    the block ends, its leases are released at once. The leases of a killed process run out. Raises DeepSoundError
    (LEDGER_*) where the session can't be recorded.
    """
    owner = this_owner()
    context = worker.execution_context
    if follows_only:
        context = replace(context, device=NO_DEVICE)
    with worker.ledger.write() as session:
        session_id = begin_worker_session(session, run_id, owner, context, flow_run_id)
    ended = threading.Event()
    heartbeat = threading.Thread(
        target=_send_heartbeats, args=(worker, session_id, owner, ended), name="heartbeat", daemon=True
    )
    heartbeat.start()
    try:
        yield
    finally:
        ended.set()
        heartbeat.join()
        _end_session(worker, session_id, owner)


def _send_heartbeats(worker: Worker, session_id: int, owner: str, ended: threading.Event) -> None:
    while not ended.wait(lease_seconds() / _BEATS_PER_LEASE):
        try:
            with worker.ledger.write() as session:
                record_heartbeat(session, session_id, owner)
        except Exception as error:  # noqa: BLE001 - if the thread ended, every lease would run out
            log.warning("no heartbeat: %s", error)


def _end_session(worker: Worker, session_id: int, owner: str) -> None:
    try:
        with worker.ledger.write() as session:
            end_worker_session(session, session_id, owner)
    except DeepSoundError as error:
        log.warning("the end of a worker session is not recorded; its leases run out: %s", error)
