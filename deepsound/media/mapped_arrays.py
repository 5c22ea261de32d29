"""Files seen as arrays, however large they are."""

import mmap
import sys
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

# Python has no name for it before 3.13.
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0
"""Else Linux refuses to map for writing what is more than all its memory."""


def mapped(file: BinaryIO) -> NDArray[np.uint8]:
    """The bytes of an open file, read as they are looked at; the file may be closed or deleted then.

    What is written to them stays in memory, and out of the file. Raises OSError.
    """
    if not file.seek(0, 2):
        return np.empty(0, np.uint8)
    access = mmap.PROT_READ | mmap.PROT_WRITE
    return np.frombuffer(mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE | _NO_RESERVE, access), np.uint8)
