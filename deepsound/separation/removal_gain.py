"""How much of the separated voice is taken out at each sample: all of it inside the spans, none outside."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepsound.spans import Span, intersect, merge

FADE_SECONDS = 0.02


def touched_spans(spans: Sequence[Span] | None, duration: float) -> tuple[Span, ...]:
    """`spans` as disjoint spans within a sound of `duration` seconds; None is all of it."""
    whole = (Span(0.0, duration),) if duration > 0 else ()
    return whole if spans is None else merge(intersect(spans, whole))


def removal_gain(
    touched: Sequence[Span], duration: float, sample_rate: int, start: int, stop: int
) -> NDArray[np.float32]:
    """The gain (stop - start,) of samples [start, stop): 1 inside `touched`, exactly 0 outside.

    Linear fades of `FADE_SECONDS` lie inside the spans; there are none at the start and end of the sound,
    where there is nothing to fade to.
    """
    time = np.arange(start, stop) / sample_rate
    total = np.zeros(stop - start)
    for span in touched:
        rise = np.inf if span.start <= 0 else (time - span.start) / FADE_SECONDS
        fall = np.inf if span.end >= duration else (span.end - time) / FADE_SECONDS
        total = np.maximum(total, np.clip(np.minimum(rise, fall), 0.0, 1.0))
    return total.astype(np.float32)
