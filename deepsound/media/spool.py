"""Arrays that are too many for memory, on disk until nobody holds them."""
# NumPy leaves memmap without types.
# pyright: reportUnknownMemberType=false

import tempfile
from math import prod

import numpy as np
from numpy.typing import NDArray

_ALIGNED = 64  # bytes: a multiple of every type's size


class ArraySpool:
    """Takes arrays one by one, and gives them back at its end as views of one mapped file.

    The file is in TMPDIR, has no name, and is gone with the last of the views.
    """

    def __init__(self) -> None:
        """Raises OSError where there is no place for temporary files."""
        self._file = tempfile.TemporaryFile(prefix="deepsound-")  # noqa: SIM115 - it outlives this call
        self._size = 0
        self._places: list[tuple[int, np.dtype[np.generic], tuple[int, ...]]] = []

    def put(self, array: NDArray[np.generic]) -> None:
        """Take the next array. Raises OSError, of which ENOSPC is a full disk."""
        self._places.append((self._size, array.dtype, array.shape))
        data = np.ascontiguousarray(array).tobytes()
        self._file.write(data.ljust(-(-len(data) // _ALIGNED) * _ALIGNED, b"\0"))
        self._size = self._file.tell()

    def arrays(self) -> list[NDArray[np.generic]]:
        """All of them in order; what is written to one stays with it. Nothing can be put after this."""
        self._file.flush()
        with self._file:
            mapped = np.memmap(self._file, np.uint8, "c") if self._size else np.empty(0, np.uint8)
        return [
            np.asarray(mapped[start : start + prod(shape) * dtype.itemsize]).view(dtype).reshape(shape)
            for start, dtype, shape in self._places
        ]
