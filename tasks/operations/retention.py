"""Deletes what nobody needs any more: features, coarse audio, unmastered stems, copies of sources; and orphans.

What the ledger knows is written off there before it goes, so that an audit never takes it for lost.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from db.read.deletable import deletable_artifacts, deletable_sources, recently_expired, unreferenced
from db.read.items import find_run, run_ids
from db.read.worker_status import live_worker_sessions
from db.write.expiry import record_expiry
from deepsound.errors import BadSettingsError, DeepSoundError
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.worker import Worker

_AT_ONCE = 200


UNFINISHED = timedelta(days=1)
"""How old a half-written file is whose writer is dead, by default."""


@dataclass(frozen=True, slots=True)
class Swept:
    """How many half-written files were removed from the store, and from folders of results."""

    store: int
    results: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many intermediates and how many copies of sources were deleted."""

    intermediates: int
    sources: int


def prune(worker: Worker, older_than: timedelta) -> Pruned:
    """Delete what items made that ended longer ago; ledger and results stay.

    A step that is reused at this very moment may find its bytes gone; it is then done again. Raises
    DeepSoundError (LEDGER_*, STORE_*).
    """
    before = datetime.now(UTC) - older_than
    with worker.ledger.read() as session:
        begun = recently_expired(session, before, _AT_ONCE)
    intermediates = _delete(worker, begun)
    while batch := _write_off(worker, before, f"retention of {older_than.days} days"):
        intermediates += _delete(worker, batch)
    return Pruned(intermediates, _delete_sources(worker, before))


def sweep_unfinished(worker: Worker, older_than: timedelta = UNFINISHED) -> Swept:
    """Remove what killed workers left half-written longer ago in the store, and where runs deliver to.

    Folders that this machine does not have are left to others. Raises DeepSoundError (LEDGER_*, STORE_*, and
    OUTPUT_NOT_WRITABLE once all other folders are swept).
    """
    return Swept(worker.store.sweep(older_than), _sweep_results(worker, older_than))


def sweep_orphans(worker: Worker, older_than: timedelta) -> int:
    """Delete what has lain in the store for longer and no row knows: what a worker put there that was killed
    before it wrote that down. Returns how many artifacts.

    Whoever is at work may be about to write down what it found there, and another ledger may know what this one
    does not: raises DeepSoundError (BAD_SETTINGS) then, besides LEDGER_* and STORE_*.
    """
    with worker.ledger.read() as session:
        if live_worker_sessions(session):
            raise _kept(worker, "workers are at work", "wait until all runs have ended or are paused")
    deleted, is_ours = 0, False
    there = worker.store.kept(older_than)
    while batch := list(islice(there, _AT_ONCE)):
        with worker.ledger.read() as session:
            orphans = unreferenced(session, batch)
        is_ours = is_ours or len(orphans) < len(batch)
        if not is_ours:
            why = f"nothing is known of what lies in {worker.store.url}"
            raise _kept(worker, why, "check --db and --store")
        deleted += _delete(worker, orphans)
    return deleted


def _kept(worker: Worker, why: str, remedy: str) -> DeepSoundError:
    what = f"no orphan was deleted: {why}"
    return BadSettingsError(what, where=worker.ledger.url, remedy=remedy)


def _write_off(worker: Worker, before: datetime, reason: str) -> list[str]:
    with worker.ledger.write() as session:
        batch = deletable_artifacts(session, before, _AT_ONCE)
        record_expiry(session, batch, reason)
    return batch


def _delete_sources(worker: Worker, before: datetime) -> int:
    deleted, after = 0, ""
    while True:
        with worker.ledger.read() as session:
            batch = deletable_sources(session, before, _AT_ONCE, after)
        if not batch:
            return deleted
        deleted, after = deleted + _delete(worker, batch), batch[-1]


def _delete(worker: Worker, artifacts: Iterable[str]) -> int:
    return sum(worker.store.delete(sha256) for sha256 in artifacts)


def _sweep_results(worker: Worker, older_than: timedelta) -> int:
    with worker.ledger.read() as session:
        heads = [find_run(session, run_id) for run_id in run_ids(session)]
    outs = {RunSettings.from_json(head.settings).out for head in heads if head is not None}
    removed, troubles = 0, list[DeepSoundError]()
    # Only a file system shows partial files; a bucket's lifecycle rule aborts its unfinished uploads.
    for folder in (out for out in outs if out.path is not None):
        try:
            removed += folder.sweep(older_than)
        except DeepSoundError as error:
            troubles.append(error)
    if troubles:
        raise troubles[0]
    return removed
