"""Reads frames with decord, for files where its result can be trusted.

decord counts frames that an edit list hides, ignores rotation, does not deinterlace, and repeats a frame in place
of a lost one. So it reads only plain files, and only if its frame count and times match those of the packets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepsound.media.media_files import media_url
from deepsound.media.media_info import VideoInfo

try:
    import decord
    from decord._ffi.base import DECORDError, DECORDLimitReachedError

    _failures = (DECORDError, DECORDLimitReachedError, RuntimeError, AssertionError)
except ImportError:  # there is no wheel for this processor, and PyAV decodes everything
    decord = None
    _failures = ()

_CONTAINERS = frozenset({"mp4", "mov", "matroska"})
_CODECS = frozenset({"h264", "hevc", "mpeg4"})


class DecordStoppedError(Exception):
    """decord could not give the next frame."""


@dataclass(frozen=True, slots=True)
class DecordReader:
    """Reads frames in order; `times` are the presentation times in seconds of all frames."""

    reader: Any
    times: Sequence[float]

    def next_after(self, skipped: int) -> NDArray[np.uint8]:
        """Skip `skipped` frames and return the next, RGB (height, width, 3). Raises DecordStoppedError."""
        try:
            if skipped:
                self.reader.skip_frames(skipped)
            return self.reader.next().asnumpy()
        except (*_failures, StopIteration) as error:
            raise DecordStoppedError from error


def trusted_reader(path: Path, info: VideoInfo) -> DecordReader | None:
    """Return a reader of the frames as coded, or None if decord can't be trusted with the file."""
    if decord is None or not _is_plain(info):
        return None
    decord.logging.set_level(decord.logging.QUIET)
    try:
        # With fault_tol, decord raises an error where it would silently repeat a frame in place of a lost one.
        tolerance: Any = 1e-9
        reader = decord.VideoReader(media_url(path), fault_tol=tolerance)
        timestamps = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
    except (*_failures, UnicodeEncodeError):  # the latter for a file name that is not UTF-8
        return None
    # decord rounds times to single precision; a constant rate gives the exact ones.
    times = np.arange(info.frames) / float(info.frame_rate)
    tolerance_seconds = 0.5 / info.frame_rate
    if len(timestamps) != len(times) or np.abs(timestamps - timestamps[0] - times).max() > tolerance_seconds:
        return None
    return DecordReader(reader, times.tolist())


def _is_plain(info: VideoInfo) -> bool:
    return (
        info.container in _CONTAINERS
        and info.codec in _CODECS
        and info.pixel_format == "yuv420p"
        and not (info.rotation or info.interlaced or info.variable_frame_rate)
        and not (info.hidden_frames or info.truncated)
        and info.width % 2 == info.height % 2 == 0
    )
