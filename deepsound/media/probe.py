"""What a media file is, read from its headers, its packets and one decoded frame."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from deepsound.canonical_json import Json
from deepsound.media.sandbox.pool import ask_sandbox


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

    `width` and `height` are those of the shown picture in square pixels, after sample aspect ratio and
    rotation. `rotation` is how far the coded picture is turned clockwise to be shown: 0, 90, 180 or 270
    degrees. `frame_rate` is the mean rate where it varies. `duration` is the presented time in seconds, last
    frame's own duration included. `frames` counts shown frames. `start` is the presentation time of the first
    shown frame on the container's clock, in seconds. `hidden_frames` counts coded frames that an edit list
    hides. `truncated` is True where the headers promise more than the file holds.
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
    hidden_frames: int = 0
    truncated: bool = False

    def to_json(self) -> dict[str, Json]:
        """As data."""
        return {**asdict(self), "frame_rate": str(self.frame_rate)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "VideoInfo":
        """From what `to_json` gave."""
        audio = None if told["audio"] is None else AudioInfo(**told["audio"])
        parts: dict[str, Any] = {**told, "frame_rate": Fraction(told["frame_rate"]), "audio": audio}
        return cls(**parts)


def probe(path: Path) -> VideoInfo:
    """Describe the first video stream of a file and its first audio stream.

    Reads every packet's times but decodes one frame only, in a guarded process. Raises DeepSoundError:
    SOURCE_MISSING, SOURCE_EMPTY, SOURCE_NOT_MEDIA, SOURCE_CORRUPT, NO_VIDEO_STREAM, and what `guarded.pool.ask`
    raises.
    """
    return VideoInfo.from_json(ask_sandbox("describe", {"video": path}, {}))
