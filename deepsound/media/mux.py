"""A video with new sound: the picture's packets are copied bit for bit, and shown when they were shown before."""

from pathlib import Path
from typing import Final

from deepsound.errors import BadSettingsError
from deepsound.media.media_files import replacing
from deepsound.media.probe import VideoInfo, probe
from deepsound.media.sandbox.pool import ask_sandbox

FORMATS: Final = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""FFmpeg's names of the containers that results may have, by suffix."""

MEDIA_TYPES: Final = {".mp4": "video/mp4", ".mov": "video/quicktime", ".mkv": "video/x-matroska"}
"""Their media types, by suffix; what `mimetypes` knows depends on the machine's own lists."""

_SUFFIXES: Final = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv"}
_MP4_CODECS: Final = frozenset({"h264", "hevc", "av1", "mpeg4"})
_MOV_CODECS: Final = frozenset({"prores", "dnxhd", "dvvideo"})


def container_for(info: VideoInfo) -> str:
    """Suffix of the container for a video's results: the source's own, or one that can carry its codec."""
    if info.container in _SUFFIXES:
        return _SUFFIXES[info.container]
    if info.codec in _MP4_CODECS:
        return ".mp4"
    return ".mov" if info.codec in _MOV_CODECS else ".mkv"


def mux(video: Path, audio: Path, target: Path, info: VideoInfo | None = None) -> None:
    """Write `target` (.mp4, .mov or .mkv) with the picture of `video` and the sound of `audio`.

    Sample 0 of `audio` sounds with the first shown frame. The sound is AAC in MP4 and QuickTime, FLAC (24 bit) in
    Matroska. Subtitles, chapters and fonts come along where the container allows; the old sound does not. Picture
    packets are copied as they are, unless the container wants H.264 or HEVC start codes turned into lengths.
    Raises DeepSoundError: BAD_SETTINGS for another suffix, and those of opening, guarded decoding and writing.
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
        ask_sandbox("remux", paths, {"suffix": suffix, "info": info.to_json()})
