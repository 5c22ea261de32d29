"""Compares, reads, writes and removes single result files at any location."""

import hashlib
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from enum import Enum, auto

from deepsound.canonical_json import Json
from deepsound.errors import OutputNotWritableError, SourceError
from deepsound.storage.location import Location
from deepsound.storage.protocol import Artifact, FileStat
from tasks.runtime.scratch_folder import scratch_folder

_LONGEST_SIDECAR = 16 << 20
"""Bytes. The longest sidecars hold the judgement of every window of a film."""


class Found(Enum):
    """What lies at a location, compared to the artifact that belongs there."""

    NOTHING = auto()
    SAME = auto()
    OTHER = auto()


def compare(target: Location, artifact: Artifact) -> Found:
    """Compare what lies at a location to an artifact; bytes are read only where the size is right.

    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, STORE_*).
    """
    with _as_output(target):
        found = target.stat()
        if found is None:
            return Found.NOTHING
        is_same = found.is_file and found.size == artifact.size and _sha256(target, found) == artifact.sha256
        return Found.SAME if is_same else Found.OTHER


def read_start(target: Location, limit: int = _LONGEST_SIDECAR) -> bytes | None:
    """The first `limit` bytes of a file, all of a smaller one; None where nothing lies there.

    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, STORE_*).
    """
    with _as_output(target):
        if target.stat() is None:
            return None
        read = bytearray()
        for block in target.blocks():
            read += block
            if len(read) >= limit:
                break
        return bytes(read[:limit])


def put_json(value: Mapping[str, Json], target: Location) -> None:
    """Write a JSON file, replacing what lies there.

    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, DISK_FULL, STORE_*).
    """
    body = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    with scratch_folder() as folder:
        file = folder / "sidecar.json"
        file.write_bytes(body)
        target.put(file, "application/json", hashlib.sha256(body).hexdigest())


def remove_if(target: Location, sha256: str) -> None:
    """Remove a file if its bytes have this hash; anything else stays.

    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, STORE_*).
    """
    with _as_output(target):
        found = target.stat()
        if found is not None and found.is_file and _sha256(target, found) == sha256:
            target.delete()


def _sha256(target: Location, found: FileStat) -> str:
    if found.sha256 is not None:
        return found.sha256
    digest = hashlib.sha256()
    for block in target.blocks():
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def _as_output(target: Location) -> Generator[None]:
    """Raise errors of reading a location as errors of the output that it is."""
    try:
        yield
    except SourceError as error:
        raise OutputNotWritableError(error.what, where=str(target)) from error
