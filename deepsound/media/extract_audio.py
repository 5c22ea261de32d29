"""Writes a video's own audio track to a sound file, aligned with the picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from deepsound.atomic_write import replacing
from deepsound.media.audio import ExtractedAudio
from deepsound.media.decoder_pool import run_in_sandbox
from deepsound.media.media_info import VideoInfo


def extract_audio(video: Path, info: VideoInfo, target: Path) -> ExtractedAudio:
    """Write the file's first audio stream as float WAV on the picture's clock, at its own rate and channels.

    Sample 0 sounds with the first shown frame, and round(duration * rate) samples are written. Late starts, gaps
    and early ends are filled with silence; audio outside the shown picture is cut. Raises NoAudioStreamError,
    SourceCorruptError, and what `run_in_sandbox` and `replacing` raise.
    """
    with replacing(target) as partial:
        paths = {"video": video, "target": partial}
        reply = run_in_sandbox("extract_audio", paths, {"info": info.to_json()})
    return ExtractedAudio(**cast("Mapping[str, int]", reply))
