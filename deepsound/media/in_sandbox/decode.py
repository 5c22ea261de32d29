"""Decodes a video once and sends each stream of observers its frames, block by block."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from deepsound.canonical_json import Json
from deepsound.media.in_sandbox.frame_reader import DecodedFrame, DecodingPass, Rgb, Size
from deepsound.media.media_info import VideoInfo
from deepsound.media.observers import FrameChoice, instants_through, is_current_at_instant, is_held
from deepsound.media.sandbox.child_channel import report_progress

_BLOCK_FRAMES = 32
_BLOCK_BYTES = 64 << 20


class BlockSink(Protocol):
    """Where blocks of frames go; their memory is passed by descriptor."""

    def memory(self) -> int:
        """Return the descriptor of memory for a block."""
        ...

    def send_block(self, memory: int, header: Json) -> None:
        """Send the block in `memory`, which then belongs to the sink."""
        ...


@dataclass(slots=True)
class FrameStream:
    """Gathers the frames of one rate (None: all of them), size (width, height) and choice into blocks.

    The header of a block is [number, shape, times]: the stream's number, the shape (n, height, width, 3) of the
    RGB frames, and their presentation times in seconds.
    """

    number: int
    rate: float | None
    size: Size
    sink: BlockSink
    choice: FrameChoice = FrameChoice.CURRENT
    _instants: int = 0
    """With `FrameChoice.NEXT`: how many sampling instants the frames taken stand for."""
    _memory: int | None = None
    _times: list[float] = field(default_factory=list[float])

    def wants(self, time: float, until: float) -> bool:
        """Whether the frame shown during [time, until) belongs to this stream."""
        if self.rate is None or self.choice is FrameChoice.CURRENT:
            return is_current_at_instant(self.rate, time, until)
        return instants_through(self.rate, time) > self._instants or is_held(time, until)

    def take(self, frame: Rgb, time: float) -> None:
        """Add a frame, and send the block if it is full."""
        if self._memory is None:
            self._memory = self.sink.memory()
        _write(self._memory, frame, len(self._times) * frame.nbytes)
        self._times.append(time)
        if self.rate is not None:
            self._instants = instants_through(self.rate, time)
        if len(self._times) >= _BLOCK_FRAMES or len(self._times) * frame.nbytes >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send the frames gathered so far."""
        if self._memory is not None:
            width, height = self.size
            shape: list[Json] = [len(self._times), height, width, 3]
            self.sink.send_block(self._memory, [self.number, shape, list[Json](self._times)])
            self._memory, self._times = None, []


def decode_video(video: Path, info: VideoInfo, streams: Sequence[FrameStream]) -> DecodingPass:
    """Decode a video once and give each stream the frames it wants. Returns the finished pass."""

    def is_wanted(time: float, until: float) -> bool:
        report_progress()
        return any(stream.wants(time, until) for stream in streams)

    decoding = DecodingPass(video, info, is_wanted)
    for frame in decoding:
        _distribute(frame, streams)
    for stream in streams:
        stream.flush()
    return decoding


def _distribute(frame: DecodedFrame, streams: Sequence[FrameStream]) -> None:
    scaled: dict[Size, Rgb] = {}
    for stream in streams:
        if stream.wants(frame.time, frame.until):
            if stream.size not in scaled:
                scaled[stream.size] = np.ascontiguousarray(frame.rgb(stream.size))
            stream.take(scaled[stream.size], frame.time)


def _write(memory: int, frame: Rgb, offset: int) -> None:
    """Write a frame to shared memory; a mapping would be slower, since the kernel has to clear its pages first."""
    written = 0
    while written < frame.nbytes:
        written += os.pwrite(memory, frame.data.cast("B")[written:], offset + written)
