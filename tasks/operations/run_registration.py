"""A run in the ledger: begun or taken up again, and its items as jobs for a worker."""

import mimetypes
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TypeVar

from sqlalchemy.orm import Session

from db.read import queries
from db.read.items import RegisteredRun, find_run, run_items
from db.schema.records import NO_RETRIES, NewItem, NewRun, VideoFile
from db.state.lease_queue import release_dead
from db.write import attempts
from db.write.reviews import current_reviews
from db.write.run_events import RunState, run_state
from deepsound.canonical_json import Json
from deepsound.errors import BadSettingsError, DeepSoundError, ErrorCode, NoSuchRunError
from deepsound.media.probe import probe
from deepsound.models.file_hashes import source_sha256
from deepsound.storage.location import InBucket, Location, location
from tasks.runtime.item import ItemInProgress
from tasks.runtime.run_settings import RunSettings, Source
from tasks.runtime.time_range import range_of
from tasks.runtime.worker import Worker

_SOURCES_AT_ONCE = 4
_ITEMS_AT_ONCE = 500

_Answer = TypeVar("_Answer")


def begin_run(
    worker: Worker, settings: RunSettings, sources: Sequence[Source], on_read: Callable[[Source], None]
) -> tuple[str, bool]:
    """Register a run, or find the unfinished one that has the same settings and list.

    Returns its id, and whether it is taken up again. `on_read` is called as each source has been hashed.
    Raises DeepSoundError (LEDGER_*, STORE_*).
    """
    run = read_sources(worker, settings, sources, on_read)
    with worker.ledger.write() as session:
        open_run = queries.find_open_run(session, run.settings_sha256, run.manifest_sha256)
        if open_run is None:
            return attempts.register_run(session, run), False
        release_dead(session, open_run)
        return open_run, True


def read_sources(
    worker: Worker,
    settings: RunSettings,
    sources: Sequence[Source],
    on_read: Callable[[Source], None],
    *,
    name: str | None = None,
) -> NewRun:
    """What there is to register of a run: every source is hashed and probed, once however often it is listed.

    Where a source lies in a bucket, its bytes go into the store at once. Raises DeepSoundError (BAD_SETTINGS for
    parts that a video does not have, STORE_*, and what the bucket of a source says).
    """

    def read(where: Location) -> VideoFile | None:
        return _video(where) if isinstance(where, Path) else _downloaded(worker, where)

    files = _of_each(sources, read, on_read)
    _check_ranges(sources, files)
    items = [
        NewItem(spelled(source.location), source.output_name, files[source.location], source.overrides)
        for source in sources
    ]
    return NewRun(name or _name(sources), settings.to_json(), items, worker.execution_context.code)


def keep_sources(
    worker: Worker, run: NewRun, sources: Sequence[Source], on_kept: Callable[[Source], None]
) -> NewRun:
    """Put the bytes of a run's sources into the store, for workers on machines that do not see them.

    Returns the run as it is to be registered: with what was stored, if a source was changed since it was read.
    Raises DeepSoundError (STORE_*, DISK_FULL).
    """
    files = _files(sources, run)

    def keep(where: Location) -> VideoFile | None:
        file = files[where]
        return _kept(worker, where, file) if isinstance(where, Path) and file is not None else file

    kept = _of_each(sources, keep, on_kept)
    items = [replace(item, video=kept[source.location]) for source, item in zip(sources, run.items, strict=True)]
    return replace(run, items=items)


def restore_sources(worker: Worker, run: NewRun, sources: Sequence[Source]) -> None:
    """Store again what is gone of them. Raises DeepSoundError (STORE_*, DISK_FULL, and what a bucket says)."""
    files = _files(sources, run)

    def restore(where: Location) -> None:
        file = files[where]
        if file is None or worker.store.has(file.sha256):
            return
        if isinstance(where, Path):
            _kept(worker, where, file)
        else:
            _downloaded(worker, where)

    _of_each(sources, restore, lambda _: None)


def _files(sources: Sequence[Source], run: NewRun) -> dict[Location, VideoFile | None]:
    return {source.location: item.video for source, item in zip(sources, run.items, strict=True)}


def _of_each(
    sources: Iterable[Source], ask: Callable[[Location], _Answer], on_answer: Callable[[Source], None]
) -> dict[Location, _Answer]:
    """Ask once about each place, some at a time, however often it is listed."""
    listed: dict[Location, list[Source]] = {}
    for source in sources:
        listed.setdefault(source.location, []).append(source)

    def answer(where: Location) -> _Answer:
        answered = ask(where)
        for source in listed[where]:
            on_answer(source)
        return answered

    with ThreadPoolExecutor(_SOURCES_AT_ONCE) as pool:
        return dict(zip(listed, pool.map(answer, listed), strict=True))


def _check_ranges(sources: Iterable[Source], files: Mapping[Location, VideoFile | None]) -> None:
    """Raise DeepSoundError (BAD_SETTINGS) that names every row whose part its video does not have."""
    faults: list[str] = []
    for source in sources:
        part, file = range_of(source.overrides), files[source.location]
        # What can't be probed can't be sounded either: its plan step says why.
        if part is not None and file is not None and file.probe is not None and (fault := part.fault(file.probe)):
            faults.append(f"{source.row}: {fault}")
    if faults:
        remedy = "mend these rows; nothing was started"
        raise BadSettingsError("; ".join(faults), remedy=remedy)


def spelled(where: Location) -> str:
    """So that it means the same in any folder."""
    return str(where.absolute() if isinstance(where, Path) else where)


def unfinished_items(worker: Worker, run_id: str) -> list[int]:
    """Ids of the items of a run that have not ended, in order."""
    with worker.ledger.read() as session:
        return list(dict.fromkeys(step.item_id for step in queries.unfinished_steps(session, run_id)))


def may_go_on(worker: Worker, run_id: str) -> bool:
    """Whether nobody paused or cancelled the run, and its budget is not spent."""
    with worker.ledger.read() as session:
        return run_state(session, run_id) is RunState.ACTIVE


def held_back(worker: Worker, run_id: str) -> str | None:
    """In one line: why nobody goes on with a run, and what to type; None where it may go on."""
    with worker.ledger.read() as session:
        state = run_state(session, run_id)
    if state is RunState.ACTIVE:
        return None
    return f"run {run_id} is {state}, so nothing of it is done; `deepsound run resume {run_id}` goes on with it"


def load_jobs(worker: Worker, run_id: str, items: Iterable[int]) -> list[ItemInProgress]:
    """Items as jobs, with all that was done on them. Raises DeepSoundError (BAD_SETTINGS: no such run)."""
    with worker.ledger.read() as session:
        run = find_run(session, run_id)
        if run is None:
            raise no_such_run(run_id, worker)
        ids = list(items)
        chunks = (ids[start : start + _ITEMS_AT_ONCE] for start in range(0, len(ids), _ITEMS_AT_ONCE))
        return [job for chunk in chunks for job in _jobs(worker, session, run_id, run, chunk)]


def _jobs(
    worker: Worker, session: Session, run_id: str, run: RegisteredRun, ids: Sequence[int]
) -> Iterator[ItemInProgress]:
    settings = RunSettings.from_json(run.settings)
    # Before the histories: who took back a step in between is found out when the job claims one.
    retries, deaths = queries.item_retries(session, ids), queries.deaths(session, ids)
    reviews, histories = current_reviews(session, ids), queries.item_histories(session, ids)
    for item in run_items(session, run_id, ids):
        yield ItemInProgress(
            worker,
            run_id=run_id,
            item_id=item.id,
            source=location(item.source),
            output_name=item.output_name,
            video_sha256=item.video_sha256,
            settings=settings.with_overrides(item.overrides),
            part=range_of(item.overrides),
            done={finished.at: finished for finished in histories[item.id]},
            retries=retries.get(item.id, NO_RETRIES),
            deaths=deaths.get(item.id, 0),
            reviews=reviews.get(item.id),
        )


def no_such_run(run_id: str, worker: Worker) -> NoSuchRunError:
    """The error for an id that the ledger does not know."""
    return NoSuchRunError(f"there is no run {run_id}", where=worker.ledger.url)


def _name(sources: Sequence[Source]) -> str:
    """How people will call the run: by its first video."""
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return f"{sources[0].output_name}{more}"


def _downloaded(worker: Worker, file: InBucket) -> VideoFile | None:
    # Here, since only buckets need the client and the time its import takes.
    from deepsound.storage.bucket_files import download_file

    with worker.scratch() as scratch:
        local = scratch / f"source{PurePosixPath(file.key).suffix}"
        try:
            download_file(file, local)
        except DeepSoundError as error:
            if error.code is ErrorCode.SOURCE_MISSING:
                return None
            raise
        read = _video(local)
        return None if read is None else _kept(worker, local, read)


def _video(path: Path) -> VideoFile | None:
    """None where there is nothing to read; the plan step then says why."""
    try:
        if not path.is_file():
            return None
        size = path.stat().st_size
        sha256 = source_sha256(path)
    except OSError:
        return None
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return VideoFile(sha256, size, media_type, _probed(path))


def _kept(worker: Worker, path: Path, file: VideoFile) -> VideoFile | None:
    """A file as the store has it now; None where it is gone since it was read."""
    try:
        kept = worker.store.put(path, file.media_type)
    except DeepSoundError as error:
        if error.code is ErrorCode.SOURCE_MISSING:
            return None
        raise
    return (
        file if kept.sha256 == file.sha256 else VideoFile(kept.sha256, kept.size, file.media_type, _probed(path))
    )


def _probed(path: Path) -> Mapping[str, Json] | None:
    try:
        info = asdict(probe(path))
    except DeepSoundError:
        return None
    return {key: str(value) if isinstance(value, Fraction) else value for key, value in info.items()}
