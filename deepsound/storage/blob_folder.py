"""Files named by the SHA-256 of their bytes, under one folder: there whole or not at all, checked before use.

Layout: `aa/bb/aabb…` for kept files, `incoming/` for files still being written. A writer that dies leaves
something in `incoming/` only, where nobody reads and `sweep` clears up.
"""

import errno
import hashlib
import os
import re
import stat
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from deepsound.canonical_json import sha256_file
from deepsound.errors import (
    DeepSoundError,
    DiskFullError,
    SourceMissingError,
    StoreRefusedError,
    StoreUnreachableError,
)

_BLOCK = 1 << 20
_REMEMBERED_CHECKS = 1 << 16
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR})

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Blob:
    """A file and the SHA-256 (hex) and size in bytes of what is in it."""

    path: Path
    sha256: str
    size: int


def is_sha256(text: str) -> bool:
    """Whether `text` is spelled like a SHA-256: only such names ever become paths or keys."""
    return _SHA256.fullmatch(text) is not None


def blocks_of(source: Path) -> Iterator[bytes]:
    """The bytes of a regular file. Raises DeepSoundError SOURCE_MISSING where it can't be read."""
    try:
        if not stat.S_ISREG(source.stat().st_mode):
            raise _unreadable(source, "is not a regular file")
        with source.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise _unreadable(source, f"cannot be read ({error.strerror})") from error


def _unreadable(source: Path, what: str) -> DeepSoundError:
    return SourceMissingError(what, where=str(source), remedy="check the path and its permissions")


@contextmanager
def folder_faults(folder: Path) -> Generator[None]:
    """OSErrors of a folder as DeepSoundError: DISK_FULL, STORE_REFUSED, or STORE_UNREACHABLE."""
    try:
        yield
    except OSError as error:
        raise _folder_fault(folder, error) from error


def _folder_fault(folder: Path, error: OSError) -> DeepSoundError:
    what, where = error.strerror or "the folder failed", str(folder)
    if error.errno in _FULL:
        return DiskFullError(what, where=where, remedy="free some space and run again")
    if error.errno in _REFUSED:
        remedy = "make it a folder this user may write to, or choose another"
        return StoreRefusedError(what, where=where, remedy=remedy)
    remedy = "check the disk or the network share"
    return StoreUnreachableError(what, where=where, remedy=remedy)


class BlobFolder:
    """A folder of such files. Methods raise OSError; any number of threads and processes may share it.

    `durable`: what is kept survives a power cut. Without it, it may be damaged then, which `is_intact` sees.
    """

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.root = root
        self._durable = durable
        self._incoming = root / "incoming"
        self._checked: dict[str, Stamp] = {}
        self._checked_lock = threading.Lock()

    def path(self, sha256: str) -> Path:
        """Where the bytes of this hash are, or would be."""
        return self.root / sha256[:2] / sha256[2:4] / sha256

    @contextmanager
    def incoming(self, blocks: Iterable[bytes]) -> Generator[Blob]:
        """The bytes in a read-only temporary file, which is gone after the `with` block.

        The hash is taken while writing, so what is named is what was written, whatever the source does.
        """
        self._incoming.mkdir(parents=True, exist_ok=True)
        path = self._incoming / uuid4().hex
        try:
            yield _write(path, blocks)
        finally:
            path.unlink(missing_ok=True)

    def keep(self, blob: Blob) -> Path:
        """Move an incoming file under its hash. Bytes that are there and intact stay as they are."""
        final = self.path(blob.sha256)
        if not self.is_intact(blob.sha256):
            if self._durable:
                _sync(blob.path)
            final.parent.mkdir(parents=True, exist_ok=True)
            blob.path.replace(final)
            if self._durable:
                # The folder too, or a power cut can undo the rename that the ledger relies on. New folders
                # above it are older entries of the same journal, so they are down by then.
                _sync(final.parent)
            self._remember(blob.sha256, _stamp(final))
        return final

    def delete(self, sha256: str) -> bool:
        """Remove the file of this hash; False where there is none."""
        with self._checked_lock:
            self._checked.pop(sha256, None)
        try:
            self.path(sha256).unlink()
        except FileNotFoundError:
            return False
        return True

    def is_intact(self, sha256: str) -> bool:
        """Whether the bytes are there and still have their hash: read once a process, then only looked at."""
        path = self.path(sha256)
        try:
            stamp = _stamp(path)
            with self._checked_lock:
                if self._checked.get(sha256) == stamp:
                    return True
            if sha256_file(path) != sha256:
                return False
        except FileNotFoundError:
            return False
        self._remember(sha256, stamp)
        return True

    def kept(self, older_than: timedelta) -> Iterator[str]:
        """Hashes of the kept files that were written longer than that ago."""
        limit = time.time() - older_than.total_seconds()
        for path in self.root.glob("??/??/*"):
            if is_sha256(path.name) and path.stat().st_mtime < limit:
                yield path.name

    def sweep(self, older_than: timedelta) -> int:
        """Remove what dead writers left behind; files younger than `older_than` may still be written."""
        if not self._incoming.is_dir():
            return 0
        limit = time.time() - older_than.total_seconds()
        removed = 0
        for path in self._incoming.iterdir():
            try:
                if path.stat().st_mtime < limit:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:  # its writer has just finished with it
                continue
        return removed

    def _remember(self, sha256: str, stamp: Stamp) -> None:
        with self._checked_lock:
            self._checked[sha256] = stamp
            if len(self._checked) > _REMEMBERED_CHECKS:
                del self._checked[next(iter(self._checked))]


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _write(path: Path, blocks: Iterable[bytes]) -> Blob:
    digest, size = hashlib.sha256(), 0
    # The mode belongs to the name: this descriptor can write, everyone after it can only read.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444), "wb") as file:
        for block in blocks:
            digest.update(block)
            size += file.write(block)
    return Blob(path, digest.hexdigest(), size)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
