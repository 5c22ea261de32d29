"""Time spans in seconds of presentation time, and the little algebra the steps need."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The half-open time range [start, end), in seconds from the first shown frame."""

    start: float
    end: float

    def __post_init__(self) -> None:
        if not self.start <= self.end:
            raise ValueError(f"a span must not end before it starts: {self.start} .. {self.end}")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start


def merge(spans: Iterable[Span], gap: float = 0.0) -> tuple[Span, ...]:
    """Sorted, disjoint spans; neighbours at most `gap` seconds apart become one."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end + gap:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return tuple(merged)


def subtract(spans: Iterable[Span], holes: Iterable[Span]) -> tuple[Span, ...]:
    """What of `spans` lies in none of `holes`."""
    rest = list(merge(spans))
    for hole in merge(holes):
        cut: list[Span] = []
        for span in rest:
            if hole.end <= span.start or span.end <= hole.start:
                cut.append(span)
                continue
            if span.start < hole.start:
                cut.append(Span(span.start, hole.start))
            if hole.end < span.end:
                cut.append(Span(hole.end, span.end))
        rest = cut
    return tuple(rest)


def intersect(spans: Iterable[Span], others: Iterable[Span]) -> tuple[Span, ...]:
    """What lies in both."""
    whole = merge(spans)
    return subtract(whole, subtract(whole, others))


def total(spans: Sequence[Span]) -> float:
    """Summed length in seconds; overlaps count once."""
    return sum(span.duration for span in merge(spans))
