"""A cache of remote artifacts: a bounded folder that all processes of a machine may share.

A copy in use is locked by a shared `flock`, which the kernel releases when the process dies. Eviction removes the
least recently used copies first, and only those that it can lock exclusively.
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
from deepsound.storage.blob_folder import Blob, BlobFolder, translate_folder_errors

_DOWNLOADS_AT_ONCE = 64
_MEASURE_EVERY = 0.05  # of the limit: how much one process adds before it measures the whole folder again
_TRIM_TO = 0.9  # of the limit
_ABANDONED = timedelta(days=1)


class LocalCopies:
    """Copies below `folder`, about `limit` bytes in all, of artifacts in the store `origin` (a URL, for errors).

    More than `limit` only while more is in use. Methods raise DeepSoundError (DISK_FULL, STORE_REFUSED,
    STORE_UNREACHABLE) where the folder can't be used.
    """

    def __init__(self, folder: Path, limit: int, origin: str) -> None:
        self._origin = origin
        self._folder = folder.resolve()
        self._blobs = BlobFolder(self._folder, durable=False)
        self._limit = limit
        self._unmeasured = limit  # the folder's present size is unknown, so the first addition measures it
        self._measuring = threading.Lock()
        self._downloading = tuple(threading.Lock() for _ in range(_DOWNLOADS_AT_ONCE))

    @contextmanager
    def of_blocks(self, blocks: Iterable[bytes]) -> Generator[Blob]:
        """Write the bytes to a copy named by their hash, and hold it for the length of the `with` block."""
        with translate_folder_errors(self._folder), self._blobs.incoming(blocks) as blob:
            copy = self._keep(blob)
        with copy:
            yield Blob(Path(copy.name), blob.sha256, blob.size)

    @contextmanager
    def of_hash(self, sha256: str, download: Callable[[], Iterable[bytes]]) -> Generator[Path]:
        """Hold the copy of this hash, downloaded if there is none, for the length of the `with` block.

        Raises DeepSoundError (ARTIFACT_DAMAGED) if the download has another hash, and what `download` raises.
        """
        # One thread downloads; the others wait and then find its copy.
        with self._downloading[int(sha256[:8], 16) % _DOWNLOADS_AT_ONCE], translate_folder_errors(self._folder):
            copy = self._existing_copy(sha256) or self._download(sha256, download())
        with copy:
            yield Path(copy.name)

    def _existing_copy(self, sha256: str) -> BinaryIO | None:
        with self._eviction_blocked():
            return self._hold(self._blobs.path(sha256)) if self._blobs.is_intact(sha256) else None

    def _download(self, sha256: str, blocks: Iterable[bytes]) -> BinaryIO:
        with self._blobs.incoming(blocks) as blob:
            if blob.sha256 == sha256:
                return self._keep(blob)
        raise ArtifactDamagedError(
            f"the {blob.size} bytes stored as artifact {sha256} have the hash {blob.sha256}",
            where=self._origin,
            remedy="delete the object, or restore it from a copy, and run its step again",
        )

    def _keep(self, blob: Blob) -> BinaryIO:
        with self._eviction_blocked():
            copy = self._hold(self._blobs.keep(blob))
        self._bound(blob.size)
        return copy

    def _hold(self, path: Path) -> BinaryIO:
        copy = path.open("rb")
        fcntl.flock(copy, fcntl.LOCK_SH)
        os.utime(copy.fileno(), ns=(time.time_ns(), os.fstat(copy.fileno()).st_mtime_ns))
        return copy

    @contextmanager
    def _eviction_blocked(self) -> Generator[None]:
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
