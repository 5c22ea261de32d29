"""An artifact store at a location whose files have to be copied to this machine before they are read."""

import hashlib
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from deepsound.errors import ArtifactMissingError, DeepSoundError, SourceMissingError
from deepsound.storage.blob_folder import is_sha256
from deepsound.storage.environment import CacheSettings
from deepsound.storage.file_location import FileLocation
from deepsound.storage.local_copies import LocalCopies
from deepsound.storage.protocol import Artifact, Location

_ANY_HASH = "0" * 64


class RemoteStore:
    """Artifacts as files `aa/bb/<sha256>` below a location, with local copies of those in use. Thread-safe.

    The location's bucket is created if it does not exist. Methods raise DeepSoundError as the location does:
    STORE_UNREACHABLE, STORE_REFUSED, DISK_FULL, besides the codes that each names.
    """

    def __init__(self, place: Location, cache: CacheSettings) -> None:
        """Connects to nothing. Raises DeepSoundError (BAD_SETTINGS) for a location that can't hold artifacts."""
        self._place = place
        self._file(_ANY_HASH).check_usable()
        self._copies = LocalCopies(cache.folder, cache.limit, self.url)
        self._is_ready = False
        self._ready_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RemoteStore({self.url!r})"

    @property
    def url(self) -> str:
        """The location's URL."""
        return str(self._place)

    def put(self, source: Path, media_type: str) -> Artifact:
        """Hash a file, then send it unless a file of that hash and size is stored.

        What is sent is a local copy that nobody changes, so its bytes are those that were hashed. Raises
        SOURCE_MISSING too.
        """
        with self._copies.of_blocks(FileLocation(source).blocks()) as copy:
            self._make_ready()
            target = self._file(copy.sha256)
            stored = target.stat()
            if stored is None or stored.size != copy.size:
                target.put(copy.path, media_type, copy.sha256)
        return Artifact(copy.sha256, copy.size, media_type)

    def has(self, sha256: str) -> bool:
        """Whether a file of this hash is stored."""
        self._make_ready()
        return is_sha256(sha256) and self._file(sha256).stat() is not None

    @contextmanager
    def local(self, sha256: str) -> Generator[Path]:
        """A verified local copy, downloaded if there is none. Raises ARTIFACT_MISSING, ARTIFACT_DAMAGED too."""
        if not is_sha256(sha256):
            raise self._missing(sha256)
        with self._copies.of_hash(sha256, lambda: self._blocks(sha256)) as path:
            yield path

    def is_intact(self, sha256: str) -> bool:
        """Whether the stored file has its hash; reads all of it from the location, whatever copies there are."""
        if not self.has(sha256):
            return False
        digest = hashlib.sha256()
        for block in self._blocks(sha256):
            digest.update(block)
        return digest.hexdigest() == sha256

    def delete(self, sha256: str) -> bool:
        """Remove the file; False where it is not stored. A local copy stays until others need its room."""
        if not self.has(sha256):
            return False
        self._file(sha256).delete()
        return True

    def kept(self, older_than: timedelta) -> Iterator[str]:
        """Hashes of the files that were stored longer ago."""
        self._make_ready()
        for file in self._place.files(older_than=older_than):
            if is_sha256(file.name) and file == self._file(file.name):
                yield file.name

    def sweep(self, older_than: timedelta) -> int:
        """Remove unfinished uploads that began longer ago, and return how many."""
        self._make_ready()
        return self._place.sweep(older_than)

    def _file(self, sha256: str) -> Location:
        return self._place / f"{sha256[:2]}/{sha256[2:4]}/{sha256}"

    def _make_ready(self) -> None:
        with self._ready_lock:
            if not self._is_ready:
                self._place.make_folder()
            self._is_ready = True

    def _blocks(self, sha256: str) -> Iterator[bytes]:
        self._make_ready()
        try:
            yield from self._file(sha256).blocks()
        except SourceMissingError as error:
            raise self._missing(sha256) from error

    def _missing(self, sha256: str) -> DeepSoundError:
        remedy = "run the step that makes it again, or restore it from a copy"
        return ArtifactMissingError(f"artifact {sha256} is not in the store", where=self.url, remedy=remedy)
