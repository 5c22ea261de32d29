"""The places of results, in a folder or a bucket: what lies there is looked at, and files are put there."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path

from deepsound.atomic_write import replacing
from deepsound.canonical_json import sha256_file
from deepsound.errors import OutputNotWritableError
from deepsound.storage.location import Location
from deepsound.storage.protocol import Artifact

_LARGEST_READ = 16 << 20
"""Bytes of what is taken for a sidecar: the longest hold the words on every window of a film."""


class Found(Enum):
    """What lies at a place, held against the bytes that belong there."""

    NOTHING = auto()
    THE_SAME = auto()
    OTHER = auto()


def find(target: Location, artifact: Artifact) -> Found:
    """Hold what lies there against an artifact; bytes are read only where the size is right.

    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, STORE_*).
    """
    if not isinstance(target, Path):
        from deepsound.storage.bucket_files import find_hash

        found = find_hash(target)
        return Found.NOTHING if found is None else Found.THE_SAME if found == artifact.sha256 else Found.OTHER
    with writable(target.parent):
        if not os.path.lexists(target):
            return Found.NOTHING
        is_same = (
            target.is_file() and target.stat().st_size == artifact.size and sha256_file(target) == artifact.sha256
        )
        return Found.THE_SAME if is_same else Found.OTHER


def read(target: Location) -> bytes | None:
    """The bytes of a small file (of a large one as many as no sidecar has); None where nothing lies there.

    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, STORE_*).
    """
    if not isinstance(target, Path):
        from deepsound.storage.bucket_files import read_start

        return read_start(target, _LARGEST_READ)
    with writable(target.parent):
        try:
            with target.open("rb") as file:
                return file.read(_LARGEST_READ)
        except FileNotFoundError:
            return None


def put(source: Path, target: Location, artifact: Artifact) -> None:
    """Bring a file's bytes, which are the artifact's, to their place, whole or not at all.

    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, DISK_FULL, STORE_*).
    """
    if not isinstance(target, Path):
        # Here, since only buckets need the client and the time its import takes.
        from deepsound.storage.bucket_files import upload_file

        upload_file(source, target, artifact.media_type, artifact.sha256)
        return
    with writable(target.parent), replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def remove(target: Location, sha256: str) -> None:
    """Remove what lies there if these are its bytes; anything else stays.

    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, STORE_*).
    """
    if not isinstance(target, Path):
        from deepsound.storage.bucket_files import delete, find_hash

        if find_hash(target) == sha256:
            delete(target)
        return
    with writable(target.parent):
        if target.is_file() and not target.is_symlink() and sha256_file(target) == sha256:
            target.unlink()


@contextmanager
def writable(folder: Path) -> Generator[None]:
    """The folder, made if need be; what the system says against writing there becomes one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OutputNotWritableError(
            f"results can't be written here: {(error.strerror or 'refused').lower()}",
            where=str(folder),
            remedy="check the folder and its disk, or choose another with -o",
        ) from error
