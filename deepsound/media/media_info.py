"""What probing and cutting report about a video, as data that both sides of the sandbox exchange."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from deepsound.canonical_json import Json


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

    - `width` and `height`: the shown picture in square pixels, after sample aspect ratio and rotation.
    - `rotation`: degrees clockwise by which the coded picture is turned to be shown: 0, 90, 180 or 270.
    - `frame_rate`: the mean rate where it varies.
    - `frames`: the number of shown frames; `hidden_frames`: coded frames that an edit list hides.
    - `start`: presentation time of the first shown frame on the container's clock, in seconds.
    - `duration`: presented seconds, the last frame's own duration included.
    - `truncated`: the headers promise more than the file holds.
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
        """Return the fields as JSON values."""
        return {**asdict(self), "frame_rate": str(self.frame_rate)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "VideoInfo":
        """Build it from the result of `to_json`."""
        audio = None if values["audio"] is None else AudioInfo(**values["audio"])
        fields: dict[str, Any] = {**values, "frame_rate": Fraction(values["frame_rate"]), "audio": audio}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What `cut_excerpt` wrote: `frames` frames, shown from `start` to `end` of the source.

    `start` and `end` are seconds from the source's first shown frame; `suffix` is that of the excerpt's container.
    """

    suffix: str
    start: float
    end: float
    frames: int
