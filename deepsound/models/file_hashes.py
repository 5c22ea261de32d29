"""SHA-256 of large files, remembered: gigabytes are read again only when a file is another than before.

A hash is kept with the file's place, size, inode and times: that of a checkpoint in the user's cache, that of a
source by the process. Whatever of these is another, the file is read anew; so it is where the cache can't be read.
Nothing but speed depends on the cache being there.
"""

import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import cast

from deepsound.atomic_write import replacing
from deepsound.canonical_json import canonical_json, sha256_bytes, sha256_file
from deepsound.errors import DeepSoundError
from deepsound.user_dirs import cache_folder

log = logging.getLogger(__name__)

_SETTLED_NS = 2_000_000_000
"""A file changed less than this ago may change again within the same tick of its file system's clock."""
_HEX_DIGITS = 64
_SOURCES_REMEMBERED = 1 << 16

_Stamp = dict[str, int | str]

_sources: dict[str, tuple[_Stamp, str]] = {}
_sources_lock = threading.Lock()


def checkpoint_sha256(path: Path) -> str:
    """Hex SHA-256 of a file that seldom changes, from the cache if it is the same file as then. Raises OSError."""
    before = _stamp(path)
    known = _recalled(path, before)
    if known is not None:
        return known
    sha256 = sha256_file(path)
    if _is_settled(path, before):
        _remember(path, before, sha256)
    return sha256


def source_sha256(path: Path) -> str:
    """Hex SHA-256 of a file that somebody may change: read once a process, then only looked at. Raises OSError."""
    before = _stamp(path)
    place = str(before["path"])
    with _sources_lock:
        stamp, sha256 = _sources.get(place, ({}, ""))
    if stamp == before:
        return sha256
    sha256 = sha256_file(path)
    if _is_settled(path, before):
        with _sources_lock:
            _sources[place] = before, sha256
            if len(_sources) > _SOURCES_REMEMBERED:
                del _sources[next(iter(_sources))]
    return sha256


def _is_settled(path: Path, before: _Stamp) -> bool:
    """Whether a file is what it was before it was read, and too old to be another by the same times."""
    changed_ns = max(int(before["modified_ns"]), int(before["changed_ns"]))
    return _stamp(path) == before and time.time_ns() - changed_ns > _SETTLED_NS


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return {
        "path": os.fsencode(path.resolve()).hex(),
        "device": status.st_dev,
        "inode": status.st_ino,
        "size": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "changed_ns": status.st_ctime_ns,
    }


def _entry(path: Path) -> Path:
    return cache_folder() / "checkpoints" / f"{sha256_bytes(os.fsencode(path.resolve()))}.json"


def _recalled(path: Path, stamp: _Stamp) -> str | None:
    try:
        kept: object = json.loads(_entry(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict):
        return None
    entry = cast("dict[str, object]", kept)
    sha256 = entry.pop("sha256", None)
    if not isinstance(sha256, str) or len(sha256) != _HEX_DIGITS:
        return None
    return sha256 if entry == stamp else None


def _remember(path: Path, stamp: _Stamp, sha256: str) -> None:
    entry = _entry(path)
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with replacing(entry) as partial:
            partial.write_text(canonical_json({**stamp, "sha256": sha256}), encoding="utf-8")
    except (OSError, DeepSoundError) as error:
        log.info("the hash of %s is not remembered: %s", path.name, error)
