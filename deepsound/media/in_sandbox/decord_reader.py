"""decord, where it can be trusted.

It counts frames that an edit list hides, ignores rotation, leaves interlaced material combed and repeats a frame
in place of a lost one, so only plain files are given to it, and only if it counts and times their frames as the
packets do.
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

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
except ImportError:  # no wheel for this processor: PyAV decodes everything
    decord = None
    _failures = ()

_CONTAINERS = frozenset({"mp4", "mov", "matroska"})
_CODECS = frozenset({"h264", "hevc", "mpeg4"})


class DecordStoppedError(Exception):
    """decord could not give the next frame."""


@dataclass(frozen=True, slots=True)
class DecordReader:
    """Frames in order; `times` are the presentation times of all of them in seconds."""

    reader: Any
    times: Sequence[float]

    def next_after(self, skipped: int) -> NDArray[np.uint8]:
        """The frame after `skipped` more, RGB (height, width, 3). Raises DecordStoppedError."""
        try:
            if skipped:
                self.reader.skip_frames(skipped)
            return self.reader.next().asnumpy()
        except (*_failures, StopIteration) as error:
            raise DecordStoppedError from error


def trusted_reader(path: Path, info: VideoInfo) -> DecordReader | None:
    """A reader of the frames as coded, or None where decord can't be trusted with the file."""
    if decord is None or not _is_plain(info):
        return None
    decord.logging.set_level(decord.logging.QUIET)
    try:
        # fault_tol makes a repeated frame in place of a lost one an error instead of a silent lie.
        tolerance: Any = 1e-9
        reader = decord.VideoReader(media_url(path), fault_tol=tolerance)
        told = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
    except (*_failures, UnicodeEncodeError):  # the latter for a name that is no text
        return None
    # decord rounds times to single precision; at a constant rate the exact ones are known.
    times = np.arange(info.frames) / float(info.frame_rate)
    if len(told) != len(times) or np.abs(told - told[0] - times).max() > 0.5 / info.frame_rate:
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
