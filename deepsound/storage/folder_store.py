"""The default artifact store: a folder on a disk or a mounted network share."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from deepsound.errors import ArtifactDamagedError, ArtifactMissingError
from deepsound.storage.blob_folder import BlobFolder, is_sha256, translate_folder_errors
from deepsound.storage.file_location import FileLocation
from deepsound.storage.protocol import Artifact


class FolderStore:
    """Artifacts as read-only files `aa/bb/<sha256>` below one folder, which the first `put` creates.

    Methods raise DeepSoundError (STORE_REFUSED, STORE_UNREACHABLE), besides the codes that each names.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._blobs = BlobFolder(self._folder, durable=True)

    def __repr__(self) -> str:
        return f"FolderStore({self.url!r})"

    @property
    def url(self) -> str:
        """The folder as a `file://` URL."""
        return self._folder.as_uri()

    def put(self, source: Path, media_type: str) -> Artifact:
        """Copy a file into the store and hash it on the way. Stored bytes are rewritten only if damaged.

        Raises SOURCE_MISSING, DISK_FULL.
        """
        with translate_folder_errors(self._folder), self._blobs.incoming(FileLocation(source).blocks()) as blob:
            self._blobs.keep(blob)
        return Artifact(blob.sha256, blob.size, media_type)

    def has(self, sha256: str) -> bool:
        """Whether the bytes are stored."""
        with translate_folder_errors(self._folder):
            return is_sha256(sha256) and self._blobs.path(sha256).is_file()

    @contextmanager
    def local(self, sha256: str) -> Generator[Path]:
        """The stored file itself. Raises ARTIFACT_MISSING, ARTIFACT_DAMAGED."""
        if not self.has(sha256):
            raise ArtifactMissingError(
                f"artifact {sha256} is not in the store",
                where=self.url,
                remedy="run the step that makes it again, or restore it from a copy",
            )
        path = self._blobs.path(sha256)
        with translate_folder_errors(self._folder):
            intact = self._blobs.is_intact(sha256)
        if not intact:
            raise ArtifactDamagedError(
                "the bytes do not have the hash that is their name",
                where=str(path),
                remedy="restore the file from a copy, or delete it and run its step again",
            )
        yield path

    def is_intact(self, sha256: str) -> bool:
        """Whether the file exists and has its hash."""
        with translate_folder_errors(self._folder):
            return is_sha256(sha256) and self._blobs.is_intact(sha256)

    def delete(self, sha256: str) -> bool:
        """Remove the bytes; False where they are not stored."""
        with translate_folder_errors(self._folder):
            return is_sha256(sha256) and self._blobs.delete(sha256)

    def kept(self, older_than: timedelta) -> Iterator[str]:
        """Hashes of the files that were stored longer ago."""
        with translate_folder_errors(self._folder):
            yield from self._blobs.kept(older_than)

    def sweep(self, older_than: timedelta) -> int:
        """Remove unfinished files that killed writers left longer ago, and return how many."""
        with translate_folder_errors(self._folder):
            return self._blobs.sweep(older_than)
