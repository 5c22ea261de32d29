"""Opens source files and reads their packets; a file name is data, and no other file or network is opened."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from deepsound.errors import (
    DeepSoundError,
    NoVideoStreamError,
    SourceCorruptError,
    SourceNotMediaError,
    is_out_of_memory,
)
from deepsound.media.media_files import check_source, media_url
from deepsound.media.sandbox.child_channel import report_progress
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
"""Offsets and bytes by which known containers begin."""


def open_media(path: Path, *, edited: bool = True) -> InputContainer:
    """Open a media file for demuxing; with `edited` False its edit lists are ignored.

    Raises what `check_source` raises, SourceNotMediaError (no known container, or one that refers to other files),
    and SourceCorruptError (a known container that can't be opened).
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


def _not_opened(path: Path) -> DeepSoundError:
    with path.open("rb") as file:
        head = file.read(16)
    if any(head[offset:].startswith(mark) for offset, mark in _SIGNATURES):
        return SourceCorruptError("the file is damaged: its headers can't be read", where=str(path))
    return SourceNotMediaError(
        "not a media file, or a playlist that points at other files",
        where=str(path),
        remedy="name a video file such as .mp4, .mov, .mkv, .avi, .mxf or .mpg",
    )


def check_memory(error: Exception) -> None:
    """Raise MemoryError if a library's error means that memory ran out, and not that the file is damaged.

    A decoder without memory for its threads reports EAGAIN. A damaged file can make a library ask for an absurd
    size, which is refused with ENOMEM although memory is left.
    """
    no_thread = getattr(error, "errno", None) == errno.EAGAIN
    if (no_thread or is_out_of_memory(error)) and memory_is_short():
        raise MemoryError from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the first video stream that is not a cover picture. Raises NoVideoStreamError."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise NoVideoStreamError("there is no video in the file", where=str(path), remedy="name a video file")


def audio_stream(container: InputContainer) -> AudioStream | None:
    """Return the first audio stream that has a decoder and a sampling rate, or None."""
    return next((s for s in container.streams.audio if s.codec_context and s.codec_context.sample_rate), None)


def demux(container: InputContainer, *streams: Stream) -> Iterator[Any]:
    """Yield the packets of some streams, then an empty one for each, which drains its decoder.

    Reports progress at every packet. Raises FFmpegError where the file can't be read any further.
    """
    try:
        for packet in container.demux(*streams):
            report_progress()
            yield packet
    except IndexError:  # PyAV fails on streams that MPEG announces late, but only after all packets were given
        return


def demux_readable(container: InputContainer, *streams: Stream) -> Iterator[Any]:
    """Yield what `demux` yields, and stop where a damaged file can't be read any further."""
    try:
        yield from demux(container, *streams)
    except FFmpegError as error:
        check_memory(error)
