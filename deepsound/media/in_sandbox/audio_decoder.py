"""A file's own sound, decoded and laid on the picture's clock."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from numpy.typing import NDArray

from deepsound.media.media_files import check_memory
from deepsound.media.packet_times import demuxed

Block = NDArray[np.float32]

_RUN_UP = 1  # second: what a decoder has heard before changes what it makes of a packet, for a tenth of it at most


@dataclass(slots=True)
class DecodedSound:
    """The decoded pieces of an audio stream, each with its presentation time; iterate once.

    `sample_rate` and `channels` are those of the first decoded frame and known from the first piece on; a stream
    that changes either midway is converted to them. `damaged_packets` counts what could not be decoded. Packets
    well outside of `wanted`, a span in seconds on the container's clock, are not decoded.
    """

    container: InputContainer
    stream: AudioStream
    wanted: tuple[Fraction, Fraction] | None = None
    sample_rate: int = 0
    channels: int = 0
    damaged_packets: int = 0
    _layout: str = ""
    _resampler: AudioResampler | None = None
    _shape: tuple[str, str, int] | None = field(default=None)

    def __iter__(self) -> Iterator[tuple[Fraction | None, Block]]:
        packets = filter(self._is_wanted, demuxed(self.container, self.stream))
        while True:
            try:
                packet = next(packets, None)
                frames: list[AudioFrame] = [] if packet is None else packet.decode()
            except FFmpegError as error:
                check_memory(error)
                self.damaged_packets += 1
                continue
            if packet is None:
                return
            for frame in frames:
                try:
                    samples = self._samples(frame)
                except FFmpegError as error:  # damage can make a frame claim channels that do not exist
                    check_memory(error)
                    self.damaged_packets += 1
                    continue
                yield _time(frame), samples

    def _is_wanted(self, packet: "Packet[AudioStream]") -> bool:
        if self.wanted is None or packet.pts is None:
            return True
        time = packet.pts * packet.time_base
        return self.wanted[0] - _RUN_UP <= time <= self.wanted[1] + _RUN_UP

    def _samples(self, frame: AudioFrame) -> Block:
        if not self.sample_rate:
            self.sample_rate, self._layout = frame.sample_rate, frame.layout.name
            self.channels = frame.layout.nb_channels
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or shape != self._shape:
            self._resampler, self._shape = AudioResampler("fltp", self._layout, self.sample_rate), shape
        parts = [np.asarray(part.to_ndarray().T, np.float32) for part in self._resampler.resample(frame)]
        return np.concatenate(parts) if parts else np.zeros((0, self.channels), np.float32)


def _time(frame: AudioFrame) -> Fraction | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return frame.pts * frame.time_base


def place_audio(
    pieces: Iterable[tuple[int | None, Block]], samples: int, channels: int, slack: int
) -> Iterator[Block]:
    """Blocks of exactly `samples` samples in all, from pieces that each begin at a sample of the same clock.

    Time before, between and after the pieces is silent; what lies before sample 0, past the end, or over an
    earlier piece is cut. A piece at most `slack` samples off the end of the one before continues it (containers
    round times), and so does one without a time.
    """
    written = 0
    expected = 0
    first = True
    for at, block in pieces:
        begin = expected if at is None or (not first and abs(at - expected) <= slack) else at
        first, expected = False, begin + len(block)
        kept = block[max(written - begin, 0) : max(samples - begin, 0)]
        if not len(kept):
            continue
        yield from silence(max(begin, written) - written, channels)
        yield kept
        written = max(begin, written) + len(kept)
    yield from silence(samples - written, channels)


def silence(samples: int, channels: int) -> Iterator[Block]:
    """So many samples of silence, in blocks of bounded size."""
    for begin in range(0, samples, _SILENT_BLOCK):
        yield np.zeros((min(_SILENT_BLOCK, samples - begin), channels), np.float32)


_SILENT_BLOCK = 1 << 16
