"""Media files by name: checks of a source before it is opened, and the containers that results may have."""

import errno
import os
from pathlib import Path
from stat import S_ISREG
from typing import Final

from deepsound.errors import (
    DeepSoundError,
    SourceEmptyError,
    SourceMissingError,
    SourceNotMediaError,
    from_os_error,
)
from deepsound.media.media_info import VideoInfo

FORMATS: Final = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""FFmpeg's names of the containers that results may have, by suffix."""

MEDIA_TYPES: Final = {".mp4": "video/mp4", ".mov": "video/quicktime", ".mkv": "video/x-matroska"}
"""The media types of those containers, by suffix. `mimetypes` would depend on the machine's own lists."""

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


def media_url(path: Path) -> str:
    """`path` in a form that FFmpeg takes for a local file whatever characters the name holds."""
    return f"file:{path}"


def check_source(path: Path) -> None:
    """Check that `path` is a readable, non-empty regular file.

    Raises SourceMissingError (absent or unreadable), SourceNotMediaError (not a regular file), SourceEmptyError.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise SourceMissingError("there is no such file", where=str(path)) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not S_ISREG(status.st_mode):
        raise SourceNotMediaError("not a regular file", where=str(path))
    if status.st_size == 0:
        raise SourceEmptyError("the file is empty (0 bytes)", where=str(path))
    if not os.access(path, os.R_OK):
        raise _unreadable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _unreadable(path: Path, error: OSError) -> DeepSoundError:
    remedy = "check its permissions"
    return from_os_error(error, SourceMissingError, "the file can't be read", where=str(path), remedy=remedy)
