"""The part of its video that an item is: read from a row of a list, kept among what the item overrides."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from deepsound.canonical_json import Json

START, END = "start", "end"
COLUMNS = (START, END)
"""Of a list, and keys of an item's overrides: seconds from the first shown frame; no end is the video's."""

_CLOCK = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):(?=[0-5]?\d(?:\.|$)))?(\d+(?:\.\d*)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Seconds from the video's first shown frame; `end` None is its end."""

    start: float
    end: float | None

    def to_json(self) -> dict[str, Json]:
        """As parameters and overrides hold it."""
        return {START: self.start} if self.end is None else {START: self.start, END: self.end}

    def fault(self, probed: Mapping[str, Json]) -> str:
        """What is wrong with it for a video of which this is known; empty where it lies within."""
        duration, rate = float(str(probed["duration"])), Fraction(str(probed["frame_rate"]))
        if self.start >= duration:
            return f"it starts at {self.start:g} s, and the video ends after {duration:.3f} s"
        if self.end is not None and self.end > duration + float(1 / rate):
            return f"it ends at {self.end:g} s, and the video after {duration:.3f} s"
        return ""

    def share(self, duration: float) -> float:
        """How much of a video of so many seconds it is."""
        end = duration if self.end is None else min(self.end, duration)
        return max(0.0, end - self.start) / duration if duration else 1.0


def range_of(overrides: Mapping[str, Json]) -> TimeRange | None:
    """The part that an item is; None for all of its video."""
    start, end = overrides.get(START), overrides.get(END)
    if start is None and end is None:
        return None
    return TimeRange(float(str(start or 0)), None if end is None else float(str(end)))


def read_range(row: Mapping[str, object]) -> TimeRange | None:
    """What a row of a list says. Raises ValueError, in words for whoever wrote it."""
    start, end = (_seconds(name, row.get(name)) for name in COLUMNS)
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"its end {row[END]!r} is not after its start {row.get(START) or 0!r}")
    return None if end is None and not start else TimeRange(start or 0.0, end)


def _seconds(name: str, told: object) -> float | None:
    if told is None or told == "":
        return None
    if isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < math.inf:
        return float(told)
    clock = _CLOCK.fullmatch(told.strip()) if isinstance(told, str) else None
    if clock is None:
        raise ValueError(f"its {name} {told!r} is no time (seconds, or hh:mm:ss.fff)")
    hours, minutes, seconds = (Fraction(part or 0) for part in clock.groups())
    return float(hours * 3600 + minutes * 60 + seconds)
