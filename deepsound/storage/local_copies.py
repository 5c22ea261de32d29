"""Local copies of what a bucket holds: a bounded folder that every process of a machine may share.

A copy in use is held by a shared `flock`, which the kernel lets go of when a process dies; eviction takes
only what it can lock alone. The last use decides what goes first.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from deepsound.errors import ArtifactDamagedError
from deepsound.storage.blob_folder import Blob, BlobFolder, folder_faults

_DOWNLOADS_AT_ONCE = 64
_MEASURE_EVERY = 0.05  # of the limit: how much one process adds before it looks at the whole folder again
_TRIM_TO = 0.9  # of the limit
_ABANDONED = timedelta(days=1)


class LocalCopies:
    """Blobs under `folder`, about `limit` bytes in all, copied from the store `origin` (a URL, for errors).

    Only copies in use can make it more. Methods raise DeepSoundError DISK_FULL, STORE_REFUSED or
    STORE_UNREACHABLE where the folder fails.
    """

    def __init__(self, folder: Path, limit: int, origin: str) -> None:
        self._origin = origin
        self._folder = folder.resolve()
        self._blobs = BlobFolder(self._folder, durable=False)
        self._limit = limit
        self._unmeasured = limit  # what lies there already is unknown, so the first addition measures
        self._measuring = threading.Lock()
        self._downloading = tuple(threading.Lock() for _ in range(_DOWNLOADS_AT_ONCE))

    @contextmanager
    def of_blocks(self, blocks: Iterable[bytes]) -> Generator[Blob]:
        """A copy of these bytes, named by their hash, for the length of the `with` block."""
        with folder_faults(self._folder), self._blobs.incoming(blocks) as blob:
            copy = self._keep(blob)
        with copy:
            yield Blob(Path(copy.name), blob.sha256, blob.size)

    @contextmanager
    def of_hash(self, sha256: str, download: Callable[[], Iterable[bytes]]) -> Generator[Path]:
        """The copy of this hash, downloaded if it is not there, for the length of the `with` block.

        Raises DeepSoundError ARTIFACT_DAMAGED if the download has another hash, and what `download` raises.
        """
        # One download of the same bytes at a time: the second thread finds the copy of the first.
        with self._downloading[int(sha256[:8], 16) % _DOWNLOADS_AT_ONCE], folder_faults(self._folder):
            copy = self._copy_there(sha256) or self._download(sha256, download())
        with copy:
            yield Path(copy.name)

    def _copy_there(self, sha256: str) -> BinaryIO | None:
        with self._eviction_waiting():
            return self._hold(self._blobs.path(sha256)) if self._blobs.is_intact(sha256) else None

    def _download(self, sha256: str, blocks: Iterable[bytes]) -> BinaryIO:
        with self._blobs.incoming(blocks) as blob:
            if blob.sha256 == sha256:
                return self._keep(blob)
        raise ArtifactDamagedError(
            f"the {blob.size} bytes kept as artifact {sha256} have the hash {blob.sha256}",
            where=self._origin,
            remedy="delete the object, or restore it from a copy, and run its step again",
        )

    def _keep(self, blob: Blob) -> BinaryIO:
        with self._eviction_waiting():
            copy = self._hold(self._blobs.keep(blob))
        self._bound(blob.size)
        return copy

    def _hold(self, path: Path) -> BinaryIO:
        copy = path.open("rb")
        fcntl.flock(copy, fcntl.LOCK_SH)
        os.utime(copy.fileno(), ns=(time.time_ns(), os.fstat(copy.fileno()).st_mtime_ns))
        return copy

    @contextmanager
    def _eviction_waiting(self) -> Generator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def _bound(self, added: int) -> None:
        with self._measuring:
            self._unmeasured += added
            if self._unmeasured < self._limit * _MEASURE_EVERY:
                return
            self._unmeasured = 0
            with (self._folder / "lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._evict()
            self._blobs.sweep(_ABANDONED)

    def _evict(self) -> None:
        copies = [(path, path.stat()) for path in self._folder.glob("??/??/*")]
        total = sum(status.st_size for _, status in copies)
        if total <= self._limit:
            return
        for path, status in sorted(copies, key=lambda copy: copy[1].st_atime_ns):
            if total <= self._limit * _TRIM_TO:
                return
            if _unlink_unless_held(path):
                total -= status.st_size


def _unlink_unless_held(path: Path) -> bool:
    with path.open("rb") as copy:
        try:
            fcntl.flock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink()
        return True
