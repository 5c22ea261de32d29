"""What one pass over the picture yields.

A video is decoded once. Backends say beforehand what they need to see by handing in observers; the decoder
feeds every observer the frames it asked for, in presentation order, in blocks, so an hour of video needs no
more memory than a minute. What the observers keep are small arrays, stored as an artifact and shared by all
later steps and every retry.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from deepsound.media.media_info import VideoInfo

_INSTANT = 1e-6  # seconds; instants and frame times this close are the same

Observation = Mapping[str, NDArray[np.generic]]
"""Named arrays an observer kept, e.g. {"time": (n,), "score": (n,)}."""


_HELD_SECONDS = 1.0
"""A frame shown for longer stands for the time it is shown, whatever is chosen: it is a still picture."""


class FrameChoice(StrEnum):
    """Which frame stands for an instant."""

    CURRENT = "current"
    """The last that began by then: what a viewer sees."""
    NEXT = "next"
    """The first that begins then or later, unless one is held: what networks were trained on."""


@dataclass(frozen=True, slots=True)
class FrameSampling:
    """Which frames an observer sees.

    `rate`: frames a second of presentation time; None is every shown frame. For a rate, the frame that `choice`
    has stand for k / rate seconds is handed over for k = 0, 1, ...; a frame that stands for several of those
    instants is handed over once. So is a held one, if others are chosen by those that follow.
    `long_side`: longest side in pixels, aspect kept (rotation and sample aspect ratio applied first);
    smaller frames stay as they are; None is full size.
    """

    rate: float | None
    long_side: int | None
    choice: FrameChoice = FrameChoice.CURRENT


def scaled_size(info: VideoInfo, long_side: int | None) -> tuple[int, int]:
    """(width, height) of frames whose longer side is at most `long_side`; they are never enlarged."""
    longest = max(info.width, info.height)
    scale = 1.0 if long_side is None else min(1.0, long_side / longest)
    return max(round(info.width * scale), 1), max(round(info.height * scale), 1)


def is_current_at_instant(rate: float | None, time: float, until: float) -> bool:
    """Whether a frame shown during [time, until) is the one on show at some k / rate; None is every frame."""
    if rate is None:
        return True
    instant = np.ceil((time - _INSTANT) * rate) / rate
    return bool(instant < until - _INSTANT)


def instants_through(rate: float, time: float) -> int:
    """How many of the instants 0, 1 / rate, ... have come by `time`, itself included."""
    return math.floor((time + _INSTANT) * rate) + 1


def instants_before(rate: float, time: float) -> int:
    """How many of the instants 0, 1 / rate, ... come before `time`."""
    return math.ceil((time - _INSTANT) * rate)


def is_held(time: float, until: float) -> bool:
    """Whether a frame shown during [time, until) is a still picture, whatever is chosen."""
    return until - time > _HELD_SECONDS + _INSTANT


def longest_step(rate: float) -> float:
    """Seconds between two frames handed over as `NEXT` at `rate`, beyond which the former was held."""
    return _HELD_SECONDS + 1 / rate + _INSTANT


class Observer(Protocol):
    """Watches one video go by. One instance sees one video."""

    @property
    def name(self) -> str:
        """Key of its observation; two observers of one pass never share it."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the observation it would make changes; part of the step key."""
        ...

    @property
    def sampling(self) -> FrameSampling:
        """Which frames it wants."""
        ...

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Take a block: RGB (n, height, width, 3), and presentation times (n,) in seconds."""
        ...

    def finish(self) -> Observation:
        """What it kept, once the last frame was seen."""
        ...


@runtime_checkable
class EndAwareObserver(Protocol):
    """What an observer may be besides: one for which the last frame counts for as long as it is on show."""

    def shown_until(self, time: float) -> None:
        """The last frame is on show until `time`, in seconds. Called once, before `finish`."""
        ...


@dataclass(frozen=True, slots=True)
class Footage:
    """A video after its one pass: what it is, and what the observers kept, by observer name.

    `decoder` names what decoded it ("decord" or "pyav"); `frames` counts the frames it gave. `damage` is None for
    a sound file, else one line on what could not be shown.
    """

    info: VideoInfo
    observations: Mapping[str, Observation]
    decoder: str
    frames: int
    damage: str | None = None
