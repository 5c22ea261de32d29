"""Writes files atomically: a file appears under its name when all of it is on disk, or not at all."""

import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from deepsound.errors import DeepSoundError, OutputNotWritableError, from_os_error, is_disk_full

_PARTIAL_NAME = re.compile(r"\.[0-9a-f]{32}\.partial")


@contextmanager
def replacing(target: Path) -> Generator[Path]:
    """Yield a new, empty file beside `target`; when the block ends, sync it and rename it to `target`.

    If the block raises, the new file is removed and `target` stays as it was. An OSError of the block is passed
    on, except that a full disk becomes DiskFullError. Raises DiskFullError or OutputNotWritableError if the file
    can't be created, synced or renamed.
    """
    partial = target.with_name(f".{uuid4().hex}.partial")
    try:
        partial.touch(exist_ok=False)
    except OSError as error:
        raise _not_written(target, error) from error
    try:
        yield partial
        _commit(partial, target)
    except OSError as error:
        if is_disk_full(error):
            raise _not_written(target, error) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def sweep_partials(folder: Path, older_than: timedelta) -> int:
    """Remove the files below `folder` that killed processes left in `replacing`, and return how many.

    A process may still write to files younger than `older_than`, so they stay. Raises OSError if the folder
    can't be read or written.
    """
    limit, removed = time.time() - older_than.total_seconds(), 0
    for path in folder.rglob(".*.partial"):
        try:
            if _PARTIAL_NAME.fullmatch(path.name) and path.stat().st_mtime < limit:
                path.unlink()
                removed += 1
        except FileNotFoundError:  # its process has just renamed or removed it
            continue
    return removed


def _commit(partial: Path, target: Path) -> None:
    try:
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise _not_written(target, error) from error


def _not_written(target: Path, error: OSError) -> DeepSoundError:
    remedy = "check the folder and its permissions"
    return from_os_error(error, OutputNotWritableError, "can't be written", where=str(target), remedy=remedy)
