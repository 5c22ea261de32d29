"""Joins a video's picture with new audio: the picture's packets are copied and keep their presentation times."""

from pathlib import Path

from deepsound.atomic_write import replacing
from deepsound.errors import BadSettingsError
from deepsound.media.decoder_pool import run_in_sandbox
from deepsound.media.media_files import FORMATS
from deepsound.media.media_info import VideoInfo
from deepsound.media.probe import probe


def mux(video: Path, audio: Path, target: Path, info: VideoInfo | None = None) -> None:
    """Write `target` (.mp4, .mov or .mkv) with the picture of `video` and the sound of `audio`.

    Sample 0 of `audio` sounds with the first shown frame. The audio is AAC in MP4 and QuickTime, FLAC (24 bit) in
    Matroska. Subtitles, chapters and fonts are copied where the container allows; the old audio is dropped.
    Picture packets are copied unchanged, unless the container needs H.264 or HEVC start codes turned into lengths.
    Raises BadSettingsError for another suffix, and what `run_in_sandbox` and `replacing` raise.
    """
    info = info or probe(video)
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise BadSettingsError(
            f"results can't be written as {target.suffix or 'a file without suffix'}",
            where=str(target),
            remedy=f"use {', '.join(FORMATS)}",
        )
    with replacing(target) as partial:
        paths = {"video": video, "audio": audio, "target": partial}
        run_in_sandbox("mux", paths, {"suffix": suffix, "info": info.to_json()})
