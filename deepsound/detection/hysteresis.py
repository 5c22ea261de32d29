"""From a track of probabilities to spans."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.spans import Span, merge


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """How sure one must be, and for how long, in seconds.

    A span begins where the probability reaches `enter` and ends where it falls below `leave`. Gaps shorter
    than `min_gap` are bridged, what is then shorter than `min_length` is dropped, and the rest is widened by
    `pad` on both sides, as far as the sound goes.
    """

    enter: float
    leave: float
    min_gap: float
    min_length: float
    pad: float


def spans_above(track: NDArray[np.float32], hop: float, rule: Hysteresis, end: float) -> tuple[Span, ...]:
    """Where `track` (n,), one probability every `hop` seconds, is high by `rule`; nothing lies beyond `end`."""
    held = np.concatenate(([False], track >= rule.leave, [False]))
    firsts, lasts = np.flatnonzero(held[1:] & ~held[:-1]), np.flatnonzero(held[:-1] & ~held[1:])
    sure: list[Span] = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        entered = np.flatnonzero(track[first:last] >= rule.enter)
        if entered.size:
            sure.append(Span((first + int(entered[0])) * hop, last * hop))
    bridged = (span for span in merge(sure, rule.min_gap) if span.duration >= rule.min_length)
    padded = (Span(max(0.0, span.start - rule.pad), span.end + rule.pad) for span in bridged)
    return merge(Span(min(span.start, end), min(span.end, end)) for span in padded)
