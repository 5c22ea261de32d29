"""Cuts a part of a video into a video of its own: exact to the frame, with the picture's packets copied."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from deepsound.atomic_write import replacing
from deepsound.media.decoder_pool import run_in_sandbox
from deepsound.media.media_info import Excerpt, VideoInfo
from deepsound.media.probe import probe


def cut_excerpt(
    video: Path, start: float, end: float | None, target: Path, info: VideoInfo | None = None
) -> Excerpt:
    """Write the frames of `video` shown from `start` until before `end` (None: until the end) to `target`.

    Times are seconds from the first shown frame. The picture is copied from the keyframe that its first frame
    needs; an edit list (ISO/IEC 14496-12, 8.6.6) hides the frames outside the span, so the result is MP4 or
    QuickTime wherever frames must be hidden. The audio is decoded, aligned with the picture and stored as float
    PCM; subtitles and chapters are dropped. Raises BadSettingsError if no frame is shown in the span,
    OutputNotWritableError for a codec that no such container carries, and what `run_in_sandbox` and `replacing`
    raise.
    """
    info = info or probe(video)
    with replacing(target) as partial:
        span = {"info": info.to_json(), "start": start, "end": end}
        reply = run_in_sandbox("excerpt", {"video": video, "target": partial}, span)
    return Excerpt(**cast("Mapping[str, Any]", reply))
