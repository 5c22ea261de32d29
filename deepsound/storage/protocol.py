"""Protocols of storage: a `Location` is a file or folder anywhere, an `ArtifactStore` keeps immutable bytes.

A kind of location belongs to a URL scheme and is registered as an entry point (see `deepsound.storage.location`).
`ObjectLocation` is a base class for kinds that address objects by key. `open_store` makes an artifact store of any
location, so a new kind of location is a new kind of artifact store too.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FileStat:
    """Size in bytes; SHA-256 (hex) where the location records one; `is_file` is False for a folder or a device."""

    size: int
    sha256: str | None = None
    is_file: bool = True


class Location(Protocol):
    """The address of a file or folder: a path of this machine, or a URL such as `s3://bucket/key`.

    Locations are immutable, hashable, and equal where their text is equal. `str(location)` is the text that
    `deepsound.storage.location.location` parses. Making one connects to nothing. Methods that access the files
    raise DeepSoundError: STORE_UNREACHABLE, STORE_REFUSED or BAD_SETTINGS for a remote location, besides the
    codes that each names.
    """

    @property
    def name(self) -> str:
        """The last part of the path or key."""
        ...

    @property
    def parent(self) -> "Location":
        """The folder that holds this file or folder."""
        ...

    @property
    def path(self) -> Path | None:
        """Its path in this machine's file system; None where the bytes have to be copied to this machine first."""
        ...

    def __truediv__(self, name: str) -> "Location":
        """The location of a file or folder below this one; `name` may have several parts, separated by `/`."""
        ...

    def relative_to(self, folder: "Location") -> str | None:
        """The part of the path or key below `folder`, "" for `folder` itself, None outside of it."""
        ...

    def absolute(self) -> "Location":
        """The same location, independent of the working directory."""
        ...

    def resolve(self) -> "Location":
        """The location that symbolic links lead to, so that two names of one file compare equal."""
        ...

    def stat(self) -> FileStat | None:
        """What lies here; None where nothing does."""
        ...

    def blocks(self) -> Iterator[bytes]:
        """The bytes of the file, in order. Raises SOURCE_MISSING for a file that is missing or can't be read."""
        ...

    def local(self) -> AbstractContextManager[Path]:
        """The file as a local file for the length of a `with` block: `path` itself, or a temporary copy.

        Raises SOURCE_MISSING where a remote location has no such file, DISK_FULL where the copy finds no room.
        """
        ...

    def files(
        self, *, older_than: timedelta | None = None, on_unreadable: Callable[["Location"], None] | None = None
    ) -> Iterator["Location"]:
        """The file of this location, or all files below this folder, in a stable order.

        `older_than`: only files last written longer ago. A folder of the tree that can't be listed is passed to
        `on_unreadable`; one that does not exist has no files.
        """
        ...

    def put(self, source: Path, media_type: str, sha256: str) -> None:
        """Copy a local file here, in place of what lies here; it appears when all of it is written, or not at all.

        `sha256` is the hash of its bytes (hex). Raises OUTPUT_NOT_WRITABLE, DISK_FULL.
        """
        ...

    def delete(self) -> None:
        """Remove the file; nothing happens where there is none. Raises OUTPUT_NOT_WRITABLE."""
        ...

    def sweep(self, older_than: timedelta) -> int:
        """Remove what killed processes left unfinished below this folder longer ago, and return how many pieces.

        Raises OUTPUT_NOT_WRITABLE.
        """
        ...

    def make_folder(self) -> None:
        """Create what must exist before files can be put below: the folder, or the bucket."""
        ...

    def check_usable(self) -> None:
        """Raise BAD_SETTINGS if no file can have this name here, or this machine lacks settings for this location.

        Connects to nothing.
        """
        ...

    def free_bytes(self) -> int | None:
        """Bytes that can still be written below this location; None where that is unknown."""
        ...

    def link(self) -> str:
        """A URL by which a browser opens the file. It holds no secret key, and may expire."""
        ...


@dataclass(frozen=True, slots=True)
class Artifact:
    """Immutable bytes: SHA-256 (hex), size in bytes, media type."""

    sha256: str
    size: int
    media_type: str


class ArtifactStore(Protocol):
    """Keeps bytes under their SHA-256. Methods raise DeepSoundError: STORE_*, ARTIFACT_*, DISK_FULL."""

    @property
    def url(self) -> str:
        """The store's URL, without credentials."""
        ...

    def put(self, source: Path, media_type: str) -> Artifact:
        """Store the bytes of a file; they appear under their hash when all of them are written.

        Bytes that are stored already are not sent again. Raises SOURCE_MISSING too.
        """
        ...

    def has(self, sha256: str) -> bool:
        """Whether the bytes are stored."""
        ...

    def local(self, sha256: str) -> AbstractContextManager[Path]:
        """The bytes as a read-only local file for the length of a `with` block, verified against the hash."""
        ...

    def is_intact(self, sha256: str) -> bool:
        """Whether the stored bytes have this hash; reads the store, not a local copy."""
        ...

    def delete(self, sha256: str) -> bool:
        """Remove the bytes; False where they are not stored."""
        ...

    def kept(self, older_than: timedelta) -> Iterator[str]:
        """Hashes of all artifacts that were stored longer ago."""
        ...

    def sweep(self, older_than: timedelta) -> int:
        """Remove what killed writers left unfinished longer ago, and return how many pieces."""
        ...
