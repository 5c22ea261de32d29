"""Times of frames, and which of them the reference would give its networks."""

import os
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise

import numpy as np
from hypothesis import strategies as st

from deepsound.media.in_sandbox.decode import FrameStream
from deepsound.media.observers import FrameChoice

RATES = [Fraction(24_000, 1001), Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(30), Fraction(50)]
_TICKS = 90_000

frame_times = st.one_of(
    st.builds(lambda rate, count: [n / rate for n in range(count)], st.sampled_from(RATES), st.integers(1, 90)),
    st.lists(st.integers(_TICKS // 120, _TICKS), max_size=60).map(
        lambda steps: list(accumulate((Fraction(step, _TICKS) for step in steps), initial=Fraction()))
    ),
)
"""Of steady and of varying rates, no frame shown for more than a second."""


def chosen_by_the_reference(times: Sequence[Fraction], rate: int) -> list[int]:
    """The number of the frame for each instant: its loop over decoded frames, in exact numbers."""
    chosen, following = list[int](), Fraction()
    for number, time in enumerate(times):
        while time >= following:
            chosen.append(number)
            following += Fraction(1, rate)
    return chosen


class _Viewer:
    """Remembers the times of the frames it is handed."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def memory(self) -> int:
        return os.memfd_create("frames")

    def send_block(self, memory: int, header: tuple[int, Sequence[int], Sequence[float]]) -> None:
        os.close(memory)
        self.times.extend(header[2])


def taken(times: Sequence[Fraction], rate: int, ends: float | None = None) -> list[int]:
    """Numbers of the frames that a stream of the following frames takes. The video ends soon, or at `ends`."""
    viewer, starts = _Viewer(), [float(time) for time in times]
    stream = FrameStream(0, float(rate), (1, 1), viewer, FrameChoice.NEXT)
    for time, until in pairwise([*starts, ends or starts[-1] + 0.01]):
        if stream.wants(time, until):
            stream.take(np.zeros((1, 1, 3), np.uint8), time)
    stream.flush()
    return [starts.index(time) for time in viewer.times]
