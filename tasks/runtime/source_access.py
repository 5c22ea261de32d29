"""Opens the video of an item: the registered source, or the excerpt that its plan step cut.

A source counts only while its bytes have the SHA-256 that the run registered. Where the file is gone or changed,
the copy in the artifact store serves, if the run was submitted and so stored one.
"""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deepsound.errors import DeepSoundError, SourceChangedError, SourceMissingError, SourceNotMediaError
from deepsound.media.excerpt import cut_excerpt
from deepsound.media.media_files import check_source as check_readable
from deepsound.media.media_info import Excerpt
from deepsound.models.file_hashes import source_sha256
from deepsound.storage.protocol import Artifact, ArtifactStore
from tasks.runtime.item import PLAN, Item
from tasks.runtime.time_range import TimeRange

EXCERPT = "excerpt"
"""Role of the excerpt among the outputs of the plan step and the inputs of later steps."""


def registered_sha256(item: Item) -> str:
    """The SHA-256 of the video as the run registered it.

    Raises DeepSoundError (SOURCE_*) where the file could not be read then: without a hash no result may be kept.
    """
    if item.video_sha256 is not None:
        return item.video_sha256
    if (path := item.source.path) is not None:
        _refuse_folder(path)
        check_readable(path)
    raise SourceMissingError(
        "it could not be read when the run was registered",
        where=str(item.source),
        remedy="run the command again, which registers it anew",
    )


def whole_video_input(item: Item) -> str | None:
    """The video's SHA-256 as an input of steps that read the picture; None where they read an excerpt."""
    return registered_sha256(item) if item.part is None else None


def excerpt_input(item: Item) -> Mapping[str, Artifact]:
    """The excerpt as an input of steps that read the picture; empty where they read the whole video."""
    return {} if item.part is None else {EXCERPT: item.artifact(PLAN, EXCERPT)}


def check_source(item: Item, store: ArtifactStore) -> None:
    """Raise DeepSoundError (SOURCE_*, STORE_*) unless the file or the store has the video as registered."""
    _source_path(item, store)


@contextmanager
def open_original(item: Item, store: ArtifactStore) -> Generator[Path]:
    """The source as a local file: the file itself, or the store's copy of it.

    Raises DeepSoundError (SOURCE_*, STORE_*, ARTIFACT_*). Errors of the block name the source, not the copy.
    """
    if (path := _source_path(item, store)) is not None:
        yield path
        return
    with store.local(registered_sha256(item)) as path, errors_name_source(item, path):
        yield path


@contextmanager
def open_video(item: Item, store: ArtifactStore) -> Generator[Path]:
    """The video that steps after the plan read: the source, or the excerpt that the plan step cut.

    Raises DeepSoundError (SOURCE_*, STORE_*, ARTIFACT_*). Errors of the block name the source.
    """
    if item.part is None:
        with open_original(item, store) as path:
            yield path
        return
    with store.local(item.artifact(PLAN, EXCERPT).sha256) as path, errors_name_source(item, path):
        yield path


def cut_part(item: Item, part: TimeRange, store: ArtifactStore, target: Path) -> Excerpt:
    """Write a time range of the source to `target`. Raises DeepSoundError."""
    with open_original(item, store) as path:
        return cut_excerpt(path, part.start, part.end, target)


@contextmanager
def errors_name_source(item: Item, path: Path) -> Generator[None]:
    """Make errors of the block that name `path`, a copy or an excerpt of the source, name the source instead."""
    try:
        yield
    except DeepSoundError as error:
        if error.where != str(path):
            raise
        raise error.renamed(str(item.source)) from error


def _source_path(item: Item, store: ArtifactStore) -> Path | None:
    """The file of the source; None where only the store has its registered bytes."""
    sha256 = registered_sha256(item)
    if (path := item.source.path) is None:
        return None
    fault = _fault(path, sha256)
    if fault is None:
        return path
    if store.has(sha256):
        return None
    raise fault


def _fault(source: Path, sha256: str) -> DeepSoundError | None:
    """Why a file is not the one with this hash; None where it is."""
    try:
        check_readable(source)
        if source_sha256(source) == sha256:
            return None
    except DeepSoundError as error:
        return error
    except OSError as error:
        what, remedy = f"the file can't be read ({error.strerror})", "check the disk and its permissions"
        return SourceMissingError(what, where=str(source), remedy=remedy)
    return SourceChangedError(
        "the file was changed after the run had registered it",
        where=str(source),
        remedy="run the command again, which registers it anew",
    )


def _refuse_folder(source: Path) -> None:
    if os.path.isdir(source):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
        raise SourceNotMediaError(
            "this is a folder, and nothing in it is part of this run",
            where=str(source),
            remedy="check its permissions, then run the command again",
        )
