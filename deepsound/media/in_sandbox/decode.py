"""Frames of one decoding pass gathered into blocks, in this process: see `decode.look`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from deepsound.media.frame_reader import Picture, Rgb, Showing, Size
from deepsound.media.observers import FrameChoice, instants_by, is_held, shown_at_instant
from deepsound.media.probe import VideoInfo
from deepsound.media.reading_progress import progressed

_BLOCK_FRAMES = 32
_BLOCK_BYTES = 64 << 20


class Viewer(Protocol):
    """Who sees the blocks; memory is named by its descriptor."""

    def memory(self) -> int:
        """Memory for a block."""
        ...

    def hand_over(self, memory: int, stream: int, shape: Sequence[int], times: Sequence[float]) -> None:
        """Take a block; its memory is the viewer's again."""
        ...


@dataclass(slots=True)
class Stream:
    """Frames of one rate (None: all of them), size (width, height) and choice, handed over block by block."""

    number: int
    rate: float | None
    size: Size
    viewer: Viewer
    choice: FrameChoice = FrameChoice.ON_SHOW
    _instants: int = 0
    """How many instants the frames taken stand for, where those that follow are chosen."""
    _memory: int | None = None
    _times: list[float] = field(default_factory=list[float])

    def wants(self, time: float, until: float) -> bool:
        """Whether it has a use for the frame shown during [time, until)."""
        if self.rate is None or self.choice is FrameChoice.ON_SHOW:
            return shown_at_instant(self.rate, time, until)
        return instants_by(self.rate, time) > self._instants or is_held(time, until)

    def take(self, frame: Rgb, time: float) -> None:
        """Add a frame."""
        if self._memory is None:
            self._memory = self.viewer.memory()
        _write(self._memory, frame, len(self._times) * frame.nbytes)
        self._times.append(time)
        if self.rate is not None:
            self._instants = instants_by(self.rate, time)
        if len(self._times) >= _BLOCK_FRAMES or len(self._times) * frame.nbytes >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand over what there is."""
        if self._memory is not None:
            width, height = self.size
            self.viewer.hand_over(self._memory, self.number, (len(self._times), height, width, 3), self._times)
            self._memory, self._times = None, []


def show(video: Path, info: VideoInfo, streams: Sequence[Stream]) -> Showing:
    """Decode a video once; each stream gets the frames it wants. Returns how it went."""

    def wanted(time: float, until: float) -> bool:
        progressed()
        return any(stream.wants(time, until) for stream in streams)

    showing = Showing(video, info, wanted)
    for picture in showing:
        _deal(picture, streams)
    for stream in streams:
        stream.flush()
    return showing


def _deal(picture: Picture, streams: Sequence[Stream]) -> None:
    scaled: dict[Size, Rgb] = {}
    for stream in streams:
        if stream.wants(picture.time, picture.until):
            if stream.size not in scaled:
                scaled[stream.size] = np.ascontiguousarray(picture.rgb(stream.size))
            stream.take(scaled[stream.size], picture.time)


def _write(memory: int, frame: Rgb, place: int) -> None:
    """Writing is faster than copying into a mapping, whose pages the kernel would have to clear first."""
    written = 0
    while written < frame.nbytes:
        written += os.pwrite(memory, frame.data.cast("B")[written:], place + written)
