"""Compiled loops over rows of samples, which free Python's lock, on as many threads as PyTorch uses."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_threads = ThreadPoolExecutor(thread_name_prefix="rows")


def share_rows(rows: int, work: Callable[[int, int], None]) -> None:
    """Call `work` with the first row and one past the last of every thread's share."""
    few = -(-rows // torch.get_num_threads())
    if few == rows:
        work(0, rows)
    else:
        firsts = range(0, rows, few)
        list(_threads.map(work, firsts, (min(first + few, rows) for first in firsts)))
