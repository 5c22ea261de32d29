"""Reads the sources of a run before it is registered: hashes and probes them, and puts them into the store."""

import mimetypes
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from db.schema.run_records import NewItem, NewRun, VideoFile
from deepsound.canonical_json import Json
from deepsound.errors import BadSettingsError, DeepSoundError, SourceMissingError
from deepsound.media.probe import probe
from deepsound.models.file_hashes import source_sha256
from deepsound.storage.location import Location
from tasks.runtime.run_settings import RunSettings, Source
from tasks.runtime.time_range import range_of
from tasks.runtime.worker import Worker

_THREADS = 4

_Answer = TypeVar("_Answer")


def read_sources(
    worker: Worker,
    settings: RunSettings,
    sources: Sequence[Source],
    on_read: Callable[[Source], None],
    *,
    name: str | None = None,
) -> NewRun:
    """Hash and probe every source, and return the run to register. A source listed twice is read once.

    A source that has to be copied to this machine goes into the store at once, so that it is copied only once.
    `on_read` is called after each source. Raises DeepSoundError: BAD_SETTINGS for a time range outside its video;
    STORE_*; DISK_FULL.
    """
    files = _for_each_location(sources, lambda source: _read(worker, source), on_read)
    _check_ranges(sources, files)
    items = [
        NewItem(str(source.location.absolute()), source.output_name, files[source.location], source.overrides)
        for source in sources
    ]
    return NewRun(name or _run_name(sources), settings.to_json(), items, worker.execution_context.code)


def store_sources(
    worker: Worker, run: NewRun, sources: Sequence[Source], on_stored: Callable[[Source], None]
) -> NewRun:
    """Put the bytes of a run's sources into the store, for workers on machines that can't read the files.

    Returns the run with the files as stored: they may have changed since `read_sources`. Raises DeepSoundError
    (STORE_*, DISK_FULL).
    """
    files = _files(sources, run)

    def store(source: Location) -> VideoFile | None:
        file = files[source]
        # Without a path it was stored when it was read.
        return file if file is None or source.path is None else _store(worker, source, file)

    stored = _for_each_location(sources, store, on_stored)
    items = [replace(item, video=stored[source.location]) for source, item in zip(sources, run.items, strict=True)]
    return replace(run, items=items)


def restore_sources(worker: Worker, run: NewRun, sources: Sequence[Source]) -> None:
    """Store again the sources that are no longer in the store. Raises DeepSoundError (STORE_*, DISK_FULL)."""
    files = _files(sources, run)

    def restore(source: Location) -> None:
        file = files[source]
        if file is not None and not worker.store.has(file.sha256):
            _store(worker, source, file)

    _for_each_location(sources, restore, lambda _: None)


def _files(sources: Sequence[Source], run: NewRun) -> dict[Location, VideoFile | None]:
    return {source.location: item.video for source, item in zip(sources, run.items, strict=True)}


def _for_each_location(
    sources: Iterable[Source], ask: Callable[[Location], _Answer], on_answer: Callable[[Source], None]
) -> dict[Location, _Answer]:
    """Call `ask` once for each location on a few threads, and `on_answer` for every source of the location."""
    listed: dict[Location, list[Source]] = {}
    for source in sources:
        listed.setdefault(source.location, []).append(source)

    def answer(location: Location) -> _Answer:
        answered = ask(location)
        for source in listed[location]:
            on_answer(source)
        return answered

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(listed, pool.map(answer, listed), strict=True))


def _check_ranges(sources: Iterable[Source], files: Mapping[Location, VideoFile | None]) -> None:
    """Raise DeepSoundError (BAD_SETTINGS) that names every row with a time range outside its video."""
    faults: list[str] = []
    for source in sources:
        part, file = range_of(source.overrides), files[source.location]
        # A file that can't be probed fails at its plan step, which reports the cause.
        if part is not None and file is not None and file.probe is not None and (fault := part.fault(file.probe)):
            faults.append(f"{source.row}: {fault}")
    if faults:
        raise BadSettingsError("; ".join(faults), remedy="correct these rows; nothing was started")


def _run_name(sources: Sequence[Source]) -> str:
    """The default name of a run: that of its first video, and how many more there are."""
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return f"{sources[0].output_name}{more}"


def _read(worker: Worker, source: Location) -> VideoFile | None:
    """Hash and probe a source, and store a copied one. Returns None for one that can't be read."""
    try:
        with source.local() as path:
            file = _read_file(path)
            return file if file is None or source.path is not None else _put(worker, path, file)
    except SourceMissingError:
        return None


def _read_file(path: Path) -> VideoFile | None:
    """Hash and probe a file. Returns None for an unreadable one; its plan step reports the cause."""
    try:
        if not path.is_file():
            return None
        size = path.stat().st_size
        sha256 = source_sha256(path)
    except OSError:
        return None
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return VideoFile(sha256, size, media_type, _probe_json(path))


def _store(worker: Worker, source: Location, file: VideoFile) -> VideoFile | None:
    """Put a source into the store. Returns it as stored; None where it can't be read any more."""
    try:
        with source.local() as path:
            return _put(worker, path, file)
    except SourceMissingError:
        return None


def _put(worker: Worker, path: Path, file: VideoFile) -> VideoFile:
    stored = worker.store.put(path, file.media_type)
    if stored.sha256 == file.sha256:
        return file
    return VideoFile(stored.sha256, stored.size, file.media_type, _probe_json(path))


def _probe_json(path: Path) -> Mapping[str, Json] | None:
    try:
        info = asdict(probe(path))
    except DeepSoundError:
        return None
    return {key: str(value) if isinstance(value, Fraction) else value for key, value in info.items()}
