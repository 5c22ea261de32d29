"""Frame times, and which frames the reference implementation selects for its networks."""

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
"""Times at constant and variable rates, with no frame shown for more than a second."""


def chosen_by_the_reference(times: Sequence[Fraction], rate: int) -> list[int]:
    """Return the number of the frame for each instant: the reference's loop, in exact numbers."""
    chosen, instant = list[int](), Fraction()
    for number, time in enumerate(times):
        while time >= instant:
            chosen.append(number)
            instant += Fraction(1, rate)
    return chosen


class _Sink:
    """Records the times of the frames that it is sent."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def memory(self) -> int:
        return os.memfd_create("frames")

    def send_block(self, memory: int, header: tuple[int, Sequence[int], Sequence[float]]) -> None:
        os.close(memory)
        self.times.extend(header[2])


def taken(times: Sequence[Fraction], rate: int, ends: float | None = None) -> list[int]:
    """Return the numbers of the frames that a stream with `FrameChoice.NEXT` takes.

    The last frame is shown until `ends`, by default for 10 ms.
    """
    sink, starts = _Sink(), [float(time) for time in times]
    stream = FrameStream(0, float(rate), (1, 1), sink, FrameChoice.NEXT)
    for time, until in pairwise([*starts, ends or starts[-1] + 0.01]):
        if stream.wants(time, until):
            stream.take(np.zeros((1, 1, 3), np.uint8), time)
    stream.flush()
    return [starts.index(time) for time in sink.times]
