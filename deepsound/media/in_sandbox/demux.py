"""Opening sources and writing results: a file name is data, and a file appears whole or not at all."""

import errno
import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from stat import S_ISREG
from uuid import uuid4

import av
from av.container import InputContainer
from av.error import FFmpegError

from deepsound.errors import (
    DeepSoundError,
    DiskFullError,
    OutputNotWritableError,
    SourceCorruptError,
    SourceEmptyError,
    SourceMissingError,
    SourceNotMediaError,
)
from deepsound.media.sandbox.limits import memory_is_short

# Demuxers of single, self-contained files. Playlists, manifests, image sequences and capture devices
# (hls, dash, concat, sdp, image2, lavfi, imf, ...) are left out: they open other files or the network.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,h263,vc1,obu,ivf,"
    "mxf,gxf,lxf,asf,flv,ogg,dv,nut,rm,wtv,nsv,pva,yuv4mpegpipe,mjpeg,wav,w64,aiff,flac,mp3,aac,ac3,caf,au,amr"
)
_SIGNATURES = (
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"\x1aE\xdf\xa3"),
    (0, b"RIFF"),
    (0, b"\x00\x00\x01\xba"),
    (0, b"\x00\x00\x01\xb3"),
    (0, b"OggS"),
    (0, b"FLV\x01"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    (0, b"\x06\x0e\x2b\x34"),
)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial")


def media_url(path: Path) -> str:
    """`path` in the form FFmpeg can only take for a local file, whatever characters the name holds."""
    return f"file:{path}"


def open_media(path: Path, *, edited: bool = True) -> InputContainer:
    """Open a media file for demuxing; `edited` False gives the packets as they are stored, edit lists ignored.

    Raises DeepSoundError: SOURCE_MISSING (absent or unreadable), SOURCE_EMPTY, SOURCE_NOT_MEDIA (no known
    container, or one that refers to other files), SOURCE_CORRUPT (a known container that can't be opened).
    """
    check_source(path)
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    if not edited:
        options["ignore_editlist"] = "1"
    try:
        return av.open(media_url(path), "r", container_options=options, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        check_memory(error)
        raise _not_opened(path) from error


def check_memory(error: Exception) -> None:
    """Raise MemoryError for an error of the libraries that is no damage of the file but lack of memory.

    EAGAIN is what comes of a decoder for whose threads there is no room. A damaged file may ask for absurd sizes,
    which the libraries refuse with ENOMEM too.
    """
    if getattr(error, "errno", None) in (errno.ENOMEM, errno.EAGAIN) and memory_is_short():
        raise MemoryError from error


def check_source(path: Path) -> None:
    """Raise what `open_media` raises for a path that is no readable, non-empty regular file."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise _refused(SourceMissingError, "there is no such file", path, "check the path") from error
    except OSError as error:
        raise _unreadable(path) from error
    if not S_ISREG(status.st_mode):
        raise _refused(SourceNotMediaError, "not a regular file", path, "name a media file")
    if status.st_size == 0:
        raise _refused(SourceEmptyError, "the file is empty (0 bytes)", path, "copy it again")
    if not os.access(path, os.R_OK):
        raise _unreadable(path)


def _refused(kind: type[DeepSoundError], what: str, path: Path, remedy: str) -> DeepSoundError:
    return kind(what, where=str(path), remedy=remedy)


def _unreadable(path: Path) -> DeepSoundError:
    return _refused(SourceMissingError, "the file can't be read", path, "check its permissions")


def _not_opened(path: Path) -> DeepSoundError:
    with path.open("rb") as file:
        head = file.read(16)
    if any(head[at:].startswith(mark) for at, mark in _SIGNATURES):
        what = "the file is damaged: its headers can't be read"
        return _refused(SourceCorruptError, what, path, "copy it again, or repair it")
    what = "not a media file, or a playlist that points at other files"
    remedy = "name a video file such as .mp4, .mov, .mkv, .avi, .mxf or .mpg"
    return _refused(SourceNotMediaError, what, path, remedy)


@contextmanager
def replacing(target: Path) -> Generator[Path]:
    """A new, empty file beside `target` to write to; it takes the target's name once all of it is on disk.

    If the body fails, nothing is left behind. Raises DeepSoundError: DISK_FULL, OUTPUT_NOT_WRITABLE.
    """
    partial = target.with_name(f".{uuid4().hex}.partial")
    try:
        partial.touch(exist_ok=False)
    except OSError as error:
        raise _not_written(target, error) from error
    try:
        yield partial
        _settle(partial, target)
    except OSError as error:
        if error.errno in _FULL:
            raise _not_written(target, error) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def sweep_partials(folder: Path, older_than: timedelta) -> int:
    """Remove what writers left below `folder` that were killed while in `replacing`; how many files.

    Files younger than `older_than` may still be written. Raises OSError where the folder can't be read or written.
    """
    limit, removed = time.time() - older_than.total_seconds(), 0
    for path in folder.rglob(".*.partial"):
        try:
            if _PARTIAL.fullmatch(path.name) and path.stat().st_mtime < limit:
                path.unlink()
                removed += 1
        except FileNotFoundError:  # its writer has just finished with it
            continue
    return removed


def _settle(partial: Path, target: Path) -> None:
    try:
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise _not_written(target, error) from error


def _not_written(target: Path, error: OSError) -> DeepSoundError:
    if error.errno in _FULL:
        return DiskFullError("the disk is full", where=str(target), remedy="free some space and run again")
    reason = (error.strerror or "refused").lower()
    return OutputNotWritableError(
        f"can't be written: {reason}",
        where=str(target),
        remedy="check the folder and its permissions",
    )
