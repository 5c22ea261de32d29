"""Base class of locations that address objects by bucket and key, as S3, Azure and Google Cloud Storage do.

A subclass sets `scheme` and implements `stat`, `blocks`, `files`, `put` and `delete`; the rest has defaults. Its
entry point is its `parse`.
"""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import ClassVar, Self

from deepsound.errors import BadSettingsError, OutputNotWritableError, from_os_error
from deepsound.storage.protocol import FileStat, Location


@dataclass(frozen=True, slots=True)
class ObjectLocation(ABC):
    """`scheme://bucket/key`: an object, or all objects whose keys begin with `key/`; implements `Location`.

    A key is a name and not a path: nothing resolves `..` or `//` in it. The empty key is the whole bucket.
    """

    scheme: ClassVar[str]
    credentials_remedy: ClassVar[str] = "put them where the documentation of this kind of storage says"

    bucket: str
    key: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """The location of a URL. Raises DeepSoundError (BAD_SETTINGS), which never quotes the URL."""
        start = f"{cls.scheme}://"
        bucket, _, key = url.removeprefix(start).partition("/")
        if "@" in bucket:
            raise BadSettingsError(
                "credentials do not belong into a URL", where=start, remedy=cls.credentials_remedy
            )
        if not bucket:
            raise BadSettingsError("the URL names no bucket", where=start, remedy=f"give {start}bucket/prefix")
        return cls(bucket, key.removesuffix("/"))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".removesuffix("/")

    @property
    def name(self) -> str:
        """The part of the key after its last `/`; the bucket's name where the key is empty."""
        return self.key.rpartition("/")[2] or self.bucket

    @property
    def parent(self) -> Self:
        """The key without its last part."""
        return type(self)(self.bucket, self.key.rpartition("/")[0])

    @property
    def path(self) -> None:
        """None: objects are copied to this machine before they are read."""
        return

    def __truediv__(self, name: str) -> Self:
        return type(self)(self.bucket, f"{self.key}/{name}" if self.key else name)

    def relative_to(self, folder: Location) -> str | None:
        """The part of the key below `folder`, "" for `folder` itself, None outside of it."""
        if not isinstance(folder, type(self)) or folder.bucket != self.bucket:
            return None
        if self.key == folder.key:
            return ""
        start = f"{folder.key}/" if folder.key else ""
        return self.key.removeprefix(start) if self.key.startswith(start) else None

    def absolute(self) -> Self:
        """Itself."""
        return self

    def resolve(self) -> Self:
        """Itself."""
        return self

    @abstractmethod
    def stat(self) -> FileStat | None:
        """Size of the object, and the hash that `put` recorded; None where there is no object of this key."""

    @abstractmethod
    def blocks(self) -> Iterator[bytes]:
        """The bytes of the object, in order. Raises DeepSoundError (SOURCE_MISSING)."""

    @contextmanager
    def local(self) -> Generator[Path]:
        """A copy in a temporary folder, which has the suffix of the key."""
        with tempfile.TemporaryDirectory(prefix="deepsound-") as folder:
            copy = Path(folder) / f"copy{PurePosixPath(self.name).suffix}"
            try:
                with copy.open("wb") as file:
                    for block in self.blocks():
                        file.write(block)
            except OSError as error:
                raise from_os_error(
                    error, OutputNotWritableError, f"{self} can't be copied here", where=folder
                ) from error
            yield copy

    @abstractmethod
    def files(
        self, *, older_than: timedelta | None = None, on_unreadable: Callable[[Location], None] | None = None
    ) -> Iterator[Self]:
        """The object of this key, if there is one, and all objects below it, in the order of their keys."""

    @abstractmethod
    def put(self, source: Path, media_type: str, sha256: str) -> None:
        """Upload a file, and record its media type and hash; the object appears once all of it is there."""

    @abstractmethod
    def delete(self) -> None:
        """Remove the object, if there is one."""

    def sweep(self, older_than: timedelta) -> int:  # noqa: ARG002 - of the protocol
        """0: nothing unfinished is left in such storage, unless a subclass knows better."""
        return 0

    def make_folder(self) -> None:  # noqa: B027 - a default, which few subclasses replace
        """Nothing: the bucket exists."""

    def check_usable(self) -> None:
        """Raise DeepSoundError (BAD_SETTINGS) for a key that a server might take for a path of its own."""
        parts = self.key.split("/") if self.key else []
        if any(part in ("", ".", "..") for part in parts) or not self.key.isprintable():
            raise self._unusable("the prefix has empty, dotted or unprintable parts")

    def _unusable(self, what: str) -> BadSettingsError:
        url = ascii(str(self))[1:-1]
        return BadSettingsError(what, where=url, remedy=f"give {self.scheme}://bucket/prefix")

    def free_bytes(self) -> int | None:
        """None: unknown."""
        return None

    def link(self) -> str:
        """The URL of the object."""
        return str(self)
