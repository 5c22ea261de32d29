"""Arrays that are too many for memory, on disk until nobody holds them."""

import tempfile
from math import prod

import numpy as np
from numpy.typing import NDArray

from deepsound.media.mapped_arrays import mapped


class ArraySpool:
    """Takes arrays one by one, and gives them back at its end as views of one mapped file: one by one or joined.

    The file is in TMPDIR, has no name, and is gone with the last of the views.
    """

    def __init__(self) -> None:
        """Raises OSError where there is no place for temporary files."""
        self._file = tempfile.TemporaryFile(prefix="deepsound-")  # noqa: SIM115 - it outlives this call
        self._size = 0
        self._places: list[tuple[int, np.dtype[np.generic], tuple[int, ...]]] = []

    def put(self, array: NDArray[np.generic]) -> None:
        """Take the next array. Raises OSError, of which ENOSPC is a full disk."""
        self._file.write(bytes(-self._size % array.dtype.alignment))
        start = self._file.tell()
        self._places.append((start, array.dtype, array.shape))
        self._size = start + self._file.write(np.ascontiguousarray(array).tobytes())

    def arrays(self) -> list[NDArray[np.generic]]:
        """All of them in order; what is written to one stays with it. Nothing can be put after this."""
        data = self._mapped()
        return [
            data[start : start + prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
            for start, dtype, shape in self._places
        ]

    def joined(self) -> NDArray[np.generic]:
        """All of them as one array, along their first axis, which alone may differ. Nothing can be put after this.

        Raises ValueError if there are none, or they are of several types or shapes.
        """
        kinds = {(dtype, shape[1:]) for _, dtype, shape in self._places}
        if len(kinds) != 1:
            raise ValueError(f"arrays of {len(kinds)} types and shapes cannot be joined")
        [(dtype, shape)] = kinds
        return self._mapped().view(dtype).reshape(-1, *shape)

    def _mapped(self) -> NDArray[np.uint8]:
        self._file.flush()
        with self._file:
            return mapped(self._file)
