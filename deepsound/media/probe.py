"""What a media file is, read from its headers and packets, before anything is decoded."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The first audio stream. `start` is when its first sample sounds, in seconds from the first shown frame."""

    codec: str
    sample_rate: int
    channels: int
    start: float
    duration: float


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The first video stream as a viewer sees it: rotation and edit lists applied.

    `duration` is the presented time in seconds, last frame's own duration included. `frames` counts shown
    frames. `start` is the presentation time of the first shown frame on the container's clock, in seconds.
    """

    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation: int
    interlaced: bool
    frame_rate: Fraction
    variable_frame_rate: bool
    frames: int
    start: float
    duration: float
    audio: AudioInfo | None
