"""Arrays too large for memory: kept in files and read through memory maps."""

import mmap
import sys
import tempfile
from math import prod
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

# MAP_NORESERVE, which Python names only from 3.13 on. Without it Linux refuses a writable map of a file that is
# larger than all memory.
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


def map_file(file: BinaryIO) -> NDArray[np.uint8]:
    """Map the bytes of an open file; pages are read when they are used.

    Writing to the array changes memory only. The file may be closed or deleted afterwards. Raises OSError.
    """
    if not file.seek(0, 2):
        return np.empty(0, np.uint8)
    access = mmap.PROT_READ | mmap.PROT_WRITE
    return np.frombuffer(mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE | _NO_RESERVE, access), np.uint8)


class ArraySpool:
    """Collects arrays in a temporary file, then returns them as views of one memory map.

    The file is unnamed, in TMPDIR; its space is freed with the last view.
    """

    def __init__(self) -> None:
        """Raises OSError if no temporary file can be created."""
        self._file = tempfile.TemporaryFile(prefix="deepsound-")  # noqa: SIM115 - it outlives this call
        self._size = 0
        self._entries: list[tuple[int, np.dtype[np.generic], tuple[int, ...]]] = []

    def put(self, array: NDArray[np.generic]) -> None:
        """Append an array. Raises OSError, with ENOSPC if the disk is full."""
        self._file.write(bytes(-self._size % array.dtype.alignment))
        start = self._file.tell()
        self._entries.append((start, array.dtype, array.shape))
        self._size = start + self._file.write(np.ascontiguousarray(array).tobytes())

    def arrays(self) -> list[NDArray[np.generic]]:
        """Return all arrays in order; writing to one changes no other. Nothing can be put afterwards."""
        data = self._mapped()
        return [
            data[start : start + prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
            for start, dtype, shape in self._entries
        ]

    def joined(self) -> NDArray[np.generic]:
        """Return all arrays joined along their first axis. Nothing can be put afterwards.

        Raises ValueError if there are none, or if their types or the rest of their shapes differ.
        """
        kinds = {(dtype, shape[1:]) for _, dtype, shape in self._entries}
        if len(kinds) != 1:
            raise ValueError(f"arrays of {len(kinds)} types and shapes cannot be joined")
        [(dtype, shape)] = kinds
        return self._mapped().view(dtype).reshape(-1, *shape)

    def _mapped(self) -> NDArray[np.uint8]:
        self._file.flush()
        with self._file:
            return map_file(self._file)
