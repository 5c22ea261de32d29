"""Files named by the SHA-256 of their bytes, below one folder; written atomically, verified before use.

Layout: `aa/bb/aabb…` for kept files, `incoming/` for files that are still written. A writer that dies leaves a
file in `incoming/` only, which nobody reads and `sweep` removes.
"""

import errno
import hashlib
import os
import re
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from deepsound.canonical_json import sha256_file
from deepsound.errors import DeepSoundError, StoreRefusedError, StoreUnreachableError, from_os_error

_REMEMBERED_CHECKS = 1 << 16
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR})

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Blob:
    """A file and the SHA-256 (hex) and size in bytes of what is in it."""

    path: Path
    sha256: str
    size: int


def is_sha256(text: str) -> bool:
    """Whether `text` is the hex form of a SHA-256. Only such names become paths or keys."""
    return _SHA256.fullmatch(text) is not None


@contextmanager
def translate_folder_errors(folder: Path) -> Generator[None]:
    """Raise OSErrors as DeepSoundError (DISK_FULL, STORE_REFUSED, STORE_UNREACHABLE)."""
    try:
        yield
    except OSError as error:
        raise _folder_error(folder, error) from error


def _folder_error(folder: Path, error: OSError) -> DeepSoundError:
    what, where = "the store's folder can't be used", str(folder)
    if error.errno in _REFUSED:
        remedy = "make it a folder this user may write to, or choose another"
        return from_os_error(error, StoreRefusedError, what, where=where, remedy=remedy)
    remedy = "check the disk or the network share"
    return from_os_error(error, StoreUnreachableError, what, where=where, remedy=remedy)


class BlobFolder:
    """A folder of such files. Methods raise OSError. Any number of threads and processes may share one folder.

    `durable`: files are synced before they get their names, so they survive a power cut. Otherwise a power cut may
    damage them, which `is_intact` notices.
    """

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.root = root
        self._durable = durable
        self._incoming = root / "incoming"
        self._checked: dict[str, Stamp] = {}
        self._checked_lock = threading.Lock()

    def path(self, sha256: str) -> Path:
        """The path of the file of this hash, whether it exists or not."""
        return self.root / sha256[:2] / sha256[2:4] / sha256

    @contextmanager
    def incoming(self, blocks: Iterable[bytes]) -> Generator[Blob]:
        """Write the bytes to a read-only temporary file, which the end of the `with` block removes.

        The hash is computed while writing, so it is that of the written bytes even if the source changes.
        """
        self._incoming.mkdir(parents=True, exist_ok=True)
        path = self._incoming / uuid4().hex
        try:
            yield _write(path, blocks)
        finally:
            path.unlink(missing_ok=True)

    def keep(self, blob: Blob) -> Path:
        """Rename an incoming file to its hash. An intact file of that hash stays as it is."""
        final = self.path(blob.sha256)
        if not self.is_intact(blob.sha256):
            if self._durable:
                _sync(blob.path)
            final.parent.mkdir(parents=True, exist_ok=True)
            blob.path.replace(final)
            if self._durable:
                # Without this a power cut can undo the rename, on which the ledger relies. New folders above it
                # are older entries of the file system's journal, so they are on the disk by then.
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
        """Whether the file exists and has its hash.

        A process reads each file once; later it compares inode, size and time only.
        """
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
        """Hashes of the kept files that were written longer ago."""
        limit = time.time() - older_than.total_seconds()
        for path in self.root.glob("??/??/*"):
            if is_sha256(path.name) and path.stat().st_mtime < limit:
                yield path.name

    def sweep(self, older_than: timedelta) -> int:
        """Remove files of dead writers and return how many. Younger files stay: they may still be written."""
        if not self._incoming.is_dir():
            return 0
        limit = time.time() - older_than.total_seconds()
        removed = 0
        for path in self._incoming.iterdir():
            try:
                if path.stat().st_mtime < limit:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:  # its writer has just renamed or removed it
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
    # The mode applies to later opens: this descriptor can write, every later one can only read.
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
