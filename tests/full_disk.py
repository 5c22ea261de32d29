"""Disks that are full: a small file system in memory, filled to its last byte and emptied again."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_MEGABYTE, _PAGE = 1 << 20, 1 << 12


@dataclass(frozen=True, slots=True)
class SmallRoom:
    """A file system of its own."""

    folder: Path

    @contextmanager
    def full(self) -> Iterator[None]:
        """Inside, not a byte more fits; names do, since the file system keeps them elsewhere."""
        filler = self.folder / "filler"
        with pytest.raises(OSError, match="No space left"):
            _fill(filler)
        try:
            yield
        finally:
            filler.unlink()


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(_PAGE))


@contextmanager
def small_room(folder: Path, megabytes: int = 96) -> Iterator[SmallRoom]:
    """Skips where this user may not mount one."""
    folder.mkdir()
    size = f"size={megabytes}m"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode or os.statvfs(folder).f_blocks * os.statvfs(folder).f_frsize > megabytes * _MEGABYTE:
        pytest.skip("this user may not mount a small disk to fill")
    try:
        yield SmallRoom(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
