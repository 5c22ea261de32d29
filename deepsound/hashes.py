"""SHA-256 of checkpoint files, remembered: gigabytes are read again only when a file is another than before.

A hash is kept with the file's place, size, inode and times, in the user's cache. Whatever of these is another, the
file is read anew; so it is where the cache can't be read. Nothing but speed depends on the cache being there.
"""

import json
import logging
import os
import time
from pathlib import Path
from typing import cast

from deepsound.canonical import canonical_json, sha256_bytes, sha256_file
from deepsound.errors import DeepSoundError
from deepsound.folders import cache_folder
from deepsound.media.files import replacing

log = logging.getLogger(__name__)

_SETTLED_NS = 2_000_000_000
"""A file changed less than this ago may change again within the same tick of its file system's clock."""
_HEX_DIGITS = 64

_Stamp = dict[str, int | str]


def checkpoint_sha256(path: Path) -> str:
    """Hex SHA-256 of a file that seldom changes, from the cache if it is the same file as then. Raises OSError."""
    before = _stamp(path)
    known = _recalled(path, before)
    if known is not None:
        return known
    sha256 = sha256_file(path)
    changed_ns = max(int(before["modified_ns"]), int(before["changed_ns"]))
    if _stamp(path) == before and time.time_ns() - changed_ns > _SETTLED_NS:
        _remember(path, before, sha256)
    return sha256


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
