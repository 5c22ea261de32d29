"""Loads the state of items from the ledger, for workers and reports."""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy.orm import Session

from db.read import queries
from db.read.items import RegisteredRun, find_run, run_items
from db.read.review_state import current_reviews
from db.schema.database import no_such_run
from db.schema.records import NO_RETRIES
from deepsound.storage.location import location
from tasks.runtime.item import Item
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.time_range import range_of
from tasks.runtime.worker import Worker

_CHUNK = 500


def load_items(worker: Worker, run_id: str, item_ids: Iterable[int]) -> list[Item]:
    """Items of a run with their finished steps and reviews. Raises DeepSoundError (BAD_SETTINGS: no such run)."""
    with worker.ledger.read() as session:
        run = find_run(session, run_id)
        if run is None:
            raise no_such_run(session, run_id)
        ids = list(item_ids)
        chunks = (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
        return [item for chunk in chunks for item in _load_chunk(session, run_id, run, chunk)]


def _load_chunk(session: Session, run_id: str, run: RegisteredRun, ids: Sequence[int]) -> Iterator[Item]:
    settings = RunSettings.from_json(run.settings)
    # Read before the histories: a step that is taken back in between makes the claim of the next step fail.
    retries, deaths = queries.item_retries(session, ids), queries.deaths(session, ids)
    reviews, histories = current_reviews(session, ids), queries.item_histories(session, ids)
    for row in run_items(session, run_id, ids):
        yield Item(
            run_id=run_id,
            id=row.id,
            name=row.output_name,
            source=location(row.source),
            video_sha256=row.video_sha256,
            settings=settings.with_overrides(row.overrides),
            part=range_of(row.overrides),
            done={finished.at: finished for finished in histories[row.id]},
            reviews=reviews.get(row.id, {}),
            retries=retries.get(row.id, NO_RETRIES),
            deaths=deaths.get(row.id, 0),
        )
