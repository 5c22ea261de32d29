"""Observers: how backends say which frames they need, and what one decoding pass yields.

A video is decoded once. Backends pass in their observers beforehand; the decoder gives every observer the frames
of its sampling, in presentation order and in blocks, so that memory does not grow with the length of the video.
The observations are small arrays. They are stored as an artifact, and all later steps and retries share them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from deepsound.media.media_info import VideoInfo

_TOLERANCE = 1e-6  # seconds; sampling instants and frame times this close count as equal
_HELD_SECONDS = 1.0  # a frame shown for longer counts as a still picture

Observation = Mapping[str, NDArray[np.generic]]
"""Named arrays that an observer recorded, e.g. {"time": (n,), "score": (n,)}."""


class FrameChoice(StrEnum):
    """Which frame stands for a sampling instant."""

    CURRENT = "current"
    """The last one that began by then: what a viewer sees."""
    NEXT = "next"
    """The first one that begins then or later, unless a frame is held: what MMAudio's networks were trained on."""


@dataclass(frozen=True, slots=True)
class FrameSampling:
    """Which frames an observer gets.

    - `rate`: sampling instants per second of presentation time; None selects every shown frame. For the instants
      k / rate (k = 0, 1, ...) the observer gets the frame that `choice` names, and a frame that stands for several
      instants once. With `FrameChoice.NEXT` it also gets every held frame.
    - `long_side`: longest side in pixels, after rotation and sample aspect ratio, with the aspect kept. Smaller
      frames keep their size; None is full size.
    """

    rate: float | None
    long_side: int | None
    choice: FrameChoice = FrameChoice.CURRENT


def scaled_size(info: VideoInfo, long_side: int | None) -> tuple[int, int]:
    """Return (width, height) of frames whose longest side is at most `long_side`; frames are never enlarged."""
    longest = max(info.width, info.height)
    scale = 1.0 if long_side is None else min(1.0, long_side / longest)
    return max(round(info.width * scale), 1), max(round(info.height * scale), 1)


def is_current_at_instant(rate: float | None, time: float, until: float) -> bool:
    """Whether a frame shown during [time, until) is shown at some instant k / rate; always true for None."""
    if rate is None:
        return True
    instant = np.ceil((time - _TOLERANCE) * rate) / rate
    return bool(instant < until - _TOLERANCE)


def instants_through(rate: float, time: float) -> int:
    """Return how many of the instants 0, 1 / rate, ... are at most `time`."""
    return math.floor((time + _TOLERANCE) * rate) + 1


def instants_before(rate: float, time: float) -> int:
    """Return how many of the instants 0, 1 / rate, ... are less than `time`."""
    return math.ceil((time - _TOLERANCE) * rate)


def is_held(time: float, until: float) -> bool:
    """Whether a frame shown during [time, until) counts as a still picture, which stands for all of that time."""
    return until - time > _HELD_SECONDS + _TOLERANCE


def longest_step(rate: float) -> float:
    """Return the largest difference in seconds of two successive `NEXT` frames at `rate` if none is held."""
    return _HELD_SECONDS + 1 / rate + _TOLERANCE


class Observer(Protocol):
    """Gets the frames of one video and records an observation. Each instance serves one decoding pass."""

    @property
    def name(self) -> str:
        """The key of its observation, unique within a decoding pass."""
        ...

    @property
    def version(self) -> str:
        """Part of the step key; changes whenever the observation of the same video would change."""
        ...

    @property
    def sampling(self) -> FrameSampling:
        """Which frames it gets."""
        ...

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Take a block: RGB (n, height, width, 3), and presentation times (n,) in seconds."""
        ...

    def finish(self) -> Observation:
        """Return the observation. Called once, after the last block."""
        ...


@runtime_checkable
class EndAwareObserver(Protocol):
    """An observer that also needs to know how long the last frame is shown."""

    def shown_until(self, time: float) -> None:
        """Take the time in seconds until which the last frame is shown. Called once, before `finish`."""
        ...


@dataclass(frozen=True, slots=True)
class Footage:
    """A video after its decoding pass: its description, and the observations by observer name.

    `decoder` names what decoded it ("decord", "pyav", or "decord, then pyav"), `frames` counts the decoded frames,
    and `damage` describes in one line what could not be shown, or is None.
    """

    info: VideoInfo
    observations: Mapping[str, Observation]
    decoder: str
    frames: int
    damage: str | None = None
