"""A part of a video as a video of its own: exact to the frame, and its picture's packets copied as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from deepsound.media.media_files import replacing
from deepsound.media.probe import VideoInfo, probe
from deepsound.media.sandbox.pool import ask_sandbox

INSTANT = 0.001
"""Seconds: people write times to the millisecond, so one that misses a frame's by no more means that frame."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What was cut: from when to when, in seconds from the source's first shown frame, and so many frames.

    `suffix` is that of the container it is in.
    """

    suffix: str
    start: float
    end: float
    frames: int


def cut(video: Path, start: float, end: float | None, target: Path, info: VideoInfo | None = None) -> Excerpt:
    """Write the frames of `video` on show from `start` until before `end` (None: all that follow) to `target`.

    Times count from the first shown frame. The picture is copied from the keyframe it needs on; an edit list hides
    what lies outside (ISO/IEC 14496-12, 8.6.6), so the result is MP4 or QuickTime wherever there is something to
    hide. The sound is decoded, laid on the picture's clock and kept as float PCM; subtitles and chapters are left.
    Raises DeepSoundError: BAD_SETTINGS where nothing is shown then, OUTPUT_NOT_WRITABLE for a codec that no such
    container carries, and those of opening, guarded decoding and writing.
    """
    info = info or probe(video)
    with replacing(target) as partial:
        asked = {"info": info.to_json(), "start": start, "end": end}
        made = ask_sandbox("cut", {"video": video, "target": partial}, asked)
    return Excerpt(**cast("Mapping[str, Any]", made))
