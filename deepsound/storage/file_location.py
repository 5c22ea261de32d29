"""Files and folders of this machine's file system: local disks and mounted network shares."""

import os
import shutil
import stat
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deepsound.atomic_write import replacing, sweep_partials
from deepsound.errors import BadSettingsError, OutputNotWritableError, SourceMissingError, from_os_error
from deepsound.storage.protocol import FileStat, Location

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileLocation:
    """A path; implements `Location`."""

    path: Path

    @classmethod
    def parse(cls, url: str) -> "FileLocation":
        """The path of a `file:///…` URL. Raises DeepSoundError (BAD_SETTINGS)."""
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or not parts.path or parts.query or parts.fragment:
            raise BadSettingsError("the file URL names no path of this machine", remedy="give file:///folder")
        return cls(Path(unquote(parts.path)))

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The file's or folder's name."""
        return self.path.name

    @property
    def parent(self) -> "FileLocation":
        """The folder above."""
        return FileLocation(self.path.parent)

    def __truediv__(self, name: str) -> "FileLocation":
        return FileLocation(self.path / name)

    def relative_to(self, folder: Location) -> str | None:
        """The path below `folder`, "" for `folder` itself, None outside of it."""
        if folder.path is None or not self.path.is_relative_to(folder.path):
            return None
        return "" if self.path == folder.path else str(self.path.relative_to(folder.path))

    def absolute(self) -> "FileLocation":
        """The absolute path; symbolic links stay in it."""
        return FileLocation(self.path.absolute())

    def resolve(self) -> "FileLocation":
        """The path without symbolic links."""
        # Path.resolve raises for a link that leads to itself.
        return FileLocation(Path(os.path.realpath(self.path)))

    def stat(self) -> FileStat | None:
        """Size and kind, of the file that a symbolic link leads to. Raises DeepSoundError (SOURCE_MISSING)."""
        try:
            status = self.path.lstat()
            if stat.S_ISLNK(status.st_mode):
                return self._link_stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        return FileStat(status.st_size, is_file=stat.S_ISREG(status.st_mode))

    def _link_stat(self) -> FileStat:
        try:
            status = self.path.stat()
        except OSError:  # The link leads nowhere, but something does lie here.
            return FileStat(0, is_file=False)
        return FileStat(status.st_size, is_file=stat.S_ISREG(status.st_mode))

    def blocks(self) -> Iterator[bytes]:
        """The bytes of a regular file. Raises DeepSoundError (SOURCE_MISSING)."""
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise SourceMissingError("is not a regular file", where=str(self.path))
            with self.path.open("rb") as file:
                while block := file.read(_BLOCK):
                    yield block
        except OSError as error:
            raise self._unreadable(error) from error

    @contextmanager
    def local(self) -> Generator[Path]:
        """The file itself."""
        yield self.path

    def files(
        self, *, older_than: timedelta | None = None, on_unreadable: Callable[[Location], None] | None = None
    ) -> Iterator["FileLocation"]:
        """This file, or all files below this folder, sorted.

        A path that is no folder is listed as a file even where nothing exists: whoever opens it reports the cause.
        So are symbolic links that lead nowhere. Links to folders are not followed.
        """
        unreadable: list[Path] = []
        for path in self._paths(unreadable):
            if older_than is None or _is_older(path, older_than):
                yield FileLocation(path)
        for path in sorted(unreadable):
            if on_unreadable is not None:
                on_unreadable(FileLocation(path))

    def _paths(self, unreadable: list[Path]) -> list[Path]:
        if not os.path.isdir(self.path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
            return [self.path]
        tree = os.walk(self.path, onerror=lambda error: unreadable.append(Path(error.filename)))
        return sorted(Path(folder, name) for folder, _, names in tree for name in names)

    def put(self, source: Path, media_type: str, sha256: str) -> None:  # noqa: ARG002 - a file system keeps neither
        """Copy a file here, making its folder; it appears by a rename, after its bytes are on the disk."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as partial:
                shutil.copyfile(source, partial)
        except OSError as error:
            raise self._not_writable(error) from error

    def delete(self) -> None:
        """Remove the file. A symbolic link stays: no link is made here, so somebody else put it."""
        try:
            if not self.path.is_symlink():
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    def sweep(self, older_than: timedelta) -> int:
        """Remove partial files that killed processes left in `put`; 0 where this folder does not exist."""
        try:
            return sweep_partials(self.path, older_than) if self.path.is_dir() else 0
        except OSError as error:
            raise self._not_writable(error) from error

    def make_folder(self) -> None:
        """Create the folder and those above it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    def check_usable(self) -> None:
        """Nothing to check: whether a path can be written only the file system can say."""

    def free_bytes(self) -> int:
        """Free bytes of the disk that holds this folder, or will hold it."""
        folder = self.path.expanduser().absolute()
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        return shutil.disk_usage(existing).free

    def link(self) -> str:
        """A `file://` URL."""
        return self.path.absolute().as_uri()

    def _unreadable(self, error: OSError) -> SourceMissingError:
        what = f"can't be read: {(error.strerror or 'refused').lower()}"
        return SourceMissingError(what, where=str(self.path), remedy="check the path and its permissions")

    def _not_writable(self, error: OSError) -> Exception:
        return from_os_error(error, OutputNotWritableError, "can't be written", where=str(self.path))


def _is_older(path: Path, age: timedelta) -> bool:
    try:
        return path.stat().st_mtime < time.time() - age.total_seconds()
    except OSError:
        return False
