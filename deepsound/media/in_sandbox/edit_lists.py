"""Reads and writes the edit lists of MP4 and QuickTime files (ISO/IEC 14496-12, 8.6.6).

FFmpeg reads edit lists but writes only the simplest, so a track that it copies would show frames that the source
hides. This module copies a track's list entry by entry.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

PLAIN_RATE = 1 << 16
"""Normal speed, in 16.16 fixed point."""

_LARGEST_HEADER = 1 << 30
_NO_MEDIA = -1


@dataclass(frozen=True, slots=True)
class Edit:
    """Shows the track for `duration` seconds from `media_time` seconds on its own clock; None shows nothing.

    `rate` is the playing rate in 16.16 fixed point.
    """

    duration: Fraction
    media_time: Fraction | None
    rate: int


EditList = tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    begin: int
    body: int
    end: int


def read_edit_lists(path: Path) -> Mapping[int, EditList] | None:
    """Return the edit lists by track id, empty for a track without one.

    Returns None for a file without a plain movie header, and for a fragmented file whose edits have no durations.
    """
    with path.open("rb") as file:
        header = _find_movie_header(file)
        if header is None:
            return None
        file.seek(header.begin)
        data = file.read(header.end - header.begin)
    try:
        moov = next(_boxes(data, 0, len(data)))
        scale = _timescale(data, _child(data, moov, b"mvhd"))
        tracks = [box for box in _boxes(data, moov.body, moov.end) if box.kind == b"trak"]
        lists = {_track_id(data, track): _edits(data, track, scale) for track in tracks}
    except (LookupError, struct.error):  # a compressed or damaged header, of which FFmpeg may still read something
        return None
    is_complete = all(edit.duration for edits in lists.values() for edit in edits)
    return lists if lists and is_complete else None


def write_edit_lists(path: Path, lists: Mapping[int, EditList]) -> None:
    """Replace the edit lists of the given tracks, and update the track and movie durations.

    The movie header must be the last box of the file, where FFmpeg writes it; raises ValueError otherwise.
    """
    with path.open("rb+") as file:
        header = _find_movie_header(file)
        if header is None or header.end != file.seek(0, os.SEEK_END):
            raise ValueError("the movie header is not the last box of the file")
        file.seek(header.begin)
        data = file.read()
        moov = next(_boxes(data, 0, len(data)))
        file.seek(header.begin)
        file.write(_edited_movie(data, moov, lists))
        file.truncate()


def _find_movie_header(file: BinaryIO) -> _Box | None:
    size = file.seek(0, os.SEEK_END)
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        box = next(_boxes(head, 0, size, offset=at), None)
        if box is None:
            return None
        if box.kind == b"moov":
            return box if box.end - box.begin < _LARGEST_HEADER else None
        at = box.end
    return None


def _boxes(data: bytes, at: int, end: int, offset: int = 0) -> Iterator[_Box]:
    """Yield the boxes of `data` from `at` to `end`; `offset` is where `data` begins in its file."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        elif size == 0:
            size = end - at - offset
        if size < head or at + size + offset > end:
            return
        yield _Box(kind, at + offset, at + head + offset, at + size + offset)
        at += size


def _child(data: bytes, box: _Box, *path: bytes) -> _Box:
    for kind in path:
        found = next((child for child in _boxes(data, box.body, box.end) if child.kind == kind), None)
        if found is None:
            raise LookupError(kind)
        box = found
    return box


def _track_id(data: bytes, track: _Box) -> int:
    tkhd = _child(data, track, b"tkhd")
    return struct.unpack_from(">I", data, tkhd.body + (20 if data[tkhd.body] else 12))[0]


def _timescale(data: bytes, header: _Box) -> int:
    """Return the units per second of a movie header or a media header, which begin alike."""
    scale = struct.unpack_from(">I", data, header.body + (20 if data[header.body] else 12))[0]
    if not scale:
        raise LookupError("timescale")
    return scale


def _edits(data: bytes, track: _Box, movie_scale: int) -> EditList:
    media_scale = _timescale(data, _child(data, track, b"mdia", b"mdhd"))
    try:
        elst = _child(data, track, b"edts", b"elst")
    except LookupError:
        return ()
    entry = ">Qqi" if data[elst.body] else ">Iii"
    (count,) = struct.unpack_from(">I", data, elst.body + 4)
    count = min(count, (elst.end - elst.body - 8) // struct.calcsize(entry))
    return tuple(
        Edit(
            Fraction(duration, movie_scale),
            None if time == _NO_MEDIA else Fraction(time, media_scale),
            rate,
        )
        for duration, time, rate in (
            struct.unpack_from(entry, data, elst.body + 8 + index * struct.calcsize(entry))
            for index in range(count)
        )
    )


def _edited_movie(data: bytes, moov: _Box, lists: Mapping[int, EditList]) -> bytes:
    mvhd = _child(data, moov, b"mvhd")
    scale = _timescale(data, mvhd)
    parts: list[bytes] = []
    longest = 0
    for box in _boxes(data, moov.body, moov.end):
        part = data[box.begin : box.end]
        if box.kind == b"trak":
            edits = lists.get(_track_id(data, box))
            if edits is not None:
                part = _edited_track(data, box, edits, scale)
            longest = max(longest, _duration(part, _child(part, _whole(part), b"tkhd"), 20, 28))
        parts.append(part)
    parts = [_with_duration(part, 16, 24, longest) if part[4:8] == b"mvhd" else part for part in parts]
    return _packed(b"moov", b"".join(parts))


def _edited_track(data: bytes, track: _Box, edits: EditList, movie_scale: int) -> bytes:
    media_scale = _timescale(data, _child(data, track, b"mdia", b"mdhd"))
    parts: list[bytes] = []
    for box in _boxes(data, track.body, track.end):
        part = data[box.begin : box.end]
        if box.kind == b"edts":
            continue
        if box.kind == b"tkhd" and edits:
            total = sum((edit.duration for edit in edits), Fraction())
            part = _with_duration(part, 20, 28, round(total * movie_scale))
        parts.append(part)
        if box.kind == b"tkhd" and edits:
            parts.append(_packed(b"edts", _edit_box(edits, movie_scale, media_scale)))
    return _packed(b"trak", b"".join(parts))


def _edit_box(edits: EditList, movie_scale: int, media_scale: int) -> bytes:
    entries = b"".join(
        struct.pack(
            ">Qqi",
            round(edit.duration * movie_scale),
            _NO_MEDIA if edit.media_time is None else round(edit.media_time * media_scale),
            edit.rate,
        )
        for edit in edits
    )
    return _packed(b"elst", struct.pack(">B3xI", 1, len(edits)) + entries)


def _whole(part: bytes) -> _Box:
    return next(_boxes(part, 0, len(part)))


def _duration(part: bytes, header: _Box, short: int, long: int) -> int:
    """Return a header's duration, `short` bytes into its body, or `long` bytes in the 64-bit version."""
    if part[header.body]:
        return struct.unpack_from(">Q", part, header.body + long)[0]
    return struct.unpack_from(">I", part, header.body + short)[0]


def _with_duration(part: bytes, short: int, long: int, duration: int) -> bytes:
    header = _whole(part)
    if part[header.body]:
        return _replaced(part, header.body + long, struct.pack(">Q", duration))
    return _replaced(part, header.body + short, struct.pack(">I", min(duration, 0xFFFFFFFF)))


def _replaced(part: bytes, at: int, value: bytes) -> bytes:
    return part[:at] + value + part[at + len(value) :]


def _packed(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body
