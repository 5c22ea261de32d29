"""A run handed over to workers: what was asked is checked as a whole, registered, and written down as an order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from db.read import queries
from db.read.items import item_summaries
from db.read.run_state import RunState, run_state
from db.schema.run_records import EventKind, NewItem, NewRun
from db.write import runs
from db.write.run_events import record_event
from deepsound.canonical_json import Json
from deepsound.storage.location import location
from tasks.operations.capacity_check import check_room
from tasks.operations.manifest import collect, refuse_overwriting_sources
from tasks.operations.run_sources import read_sources, restore_sources, store_sources
from tasks.runtime.actor import current_actor
from tasks.runtime.licence_policy import asked_for
from tasks.runtime.run_settings import RunSettings, Source
from tasks.runtime.worker import Worker


class Priority(StrEnum):
    """The work queue of a run; workers of a pool empty the higher queues first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Submission:
    """What an operator hands over. `pool` and `priority` say where its shards run; hours are of workers.

    Nothing starts before `at` (ISO 8601 with its offset; None: at once).
    """

    inputs: Sequence[str]
    settings: RunSettings
    name: str | None
    pool: str
    priority: str
    budget_gpu_hours: float | None
    at: str | None = None

    def to_json(self) -> dict[str, Json]:
        """As the ledger and a schedule keep it."""
        return {
            "inputs": [str(location(given).absolute()) for given in self.inputs],
            "settings": self.settings.to_json(),
            "name": self.name,
            "pool": self.pool,
            "priority": self.priority,
            "budget_gpu_hours": self.budget_gpu_hours,
            "at": self.at,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Json]) -> "Submission":
        """As it was when it was kept."""
        values: dict[str, Any] = dict(kept)
        values["settings"] = RunSettings.from_json(values["settings"])
        return cls(**values)


def take_stock(submission: Submission) -> tuple[Source, ...]:
    """The videos a submission means, each understood, before any is read.

    Raises DeepSoundError (BAD_SETTINGS, also for what the run may not use; STORE_*).
    """
    out = submission.settings.out
    sources = collect([location(given) for given in submission.inputs], out).sources
    refuse_overwriting_sources(sources, out)
    asked_for(submission.settings, sources)
    return sources


def submit(
    worker: Worker,
    submission: Submission,
    sources: Sequence[Source],
    on_read: Callable[[Source], None],
    *,
    by_hand: bool = True,
) -> tuple[str, bool]:
    """Put the sources into the store, the run and its order into the ledger; all of it or nothing.

    `on_read` is called as each source was read, and once more as it is stored. Returns the run's id, and whether
    an unfinished run of the same settings and list is taken up again: one that was paused or cancelled only where
    somebody asks for that `by_hand`, and not where a schedule does. Raises DeepSoundError (DISK_FULL before
    anything is stored where it can be told, LEDGER_*, STORE_*).
    """
    settings = submission.settings
    run = read_sources(worker, settings, sources, on_read, name=submission.name)
    check_room(_left_to_do(worker, run), worker.store, settings.out)
    run = store_sources(worker, run, sources, on_read)
    with worker.ledger.write() as session:
        open_run = queries.find_open_run(session, run.settings_sha256, run.manifest_sha256)
        run_id = open_run or runs.register_run(session, run)
        if by_hand or run_state(session, run_id) is RunState.ACTIVE:
            details = submission.to_json()
            del details["settings"]  # They stand in the run, word for word.
            record_event(session, run_id, EventKind.SUBMITTED, by=current_actor(), details=details)
    # Until now no row knew them, so housekeeping may have taken for orphans what was stored long before.
    restore_sources(worker, run, sources)
    return run_id, open_run is not None


def _left_to_do(worker: Worker, run: NewRun) -> Sequence[NewItem]:
    """What has not ended of a run, if it was submitted before."""
    with worker.ledger.read() as session:
        open_run = queries.find_open_run(session, run.settings_sha256, run.manifest_sha256)
        ends = [] if open_run is None else item_summaries(session, open_run)
    ended = {end.item.output_name for end in ends if end.outcome is not None}
    return [item for item in run.items if item.output_name not in ended]
