"""A file's own sound, decoded and laid on the picture's clock."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from deepsound.media.audio import Block, place_audio
from deepsound.media.in_sandbox.demux import check_memory, demux

_JITTER = 0.010  # seconds by which the times of adjoining packets may be off before they count as a gap
_RUN_UP = 1  # second: what a decoder has heard before changes what it makes of a packet, for a tenth of it at most


@dataclass(slots=True)
class AudioDecoder:
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
        packets = filter(self._is_wanted, demux(self.container, self.stream))
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


@dataclass(frozen=True, slots=True)
class AlignedAudio:
    """Sound laid on the picture's clock: `samples` in all, in `blocks` that can be taken once."""

    rate: int
    channels: int
    samples: int
    blocks: Iterator[Block]
    decoded: AudioDecoder


def decode_between(
    container: InputContainer, stream: AudioStream, begin: Fraction, end: Fraction, *, only: bool
) -> AlignedAudio | None:
    """What is heard between two times in seconds on the container's clock; None where none of it can be decoded.

    With `only`, packets that are heard well outside are not decoded where the container tells times to the sample;
    where it rounds them, only what was heard from the beginning on tells which sample is which.
    """
    tells = stream.time_base is not None and stream.time_base * stream.codec_context.sample_rate <= 1
    decoded = AudioDecoder(container, stream, (begin, end) if only and tells else None)
    pieces = iter(decoded)
    opening = next(pieces, None)
    if opening is None and decoded.damaged_packets:
        return None
    rate = decoded.sample_rate or stream.codec_context.sample_rate
    channels = decoded.channels or stream.codec_context.channels
    samples = round((end - begin) * rate)
    timed = (
        (None if time is None else round((time - begin) * rate), block)
        for time, block in chain([] if opening is None else [opening], pieces)
    )
    return AlignedAudio(
        rate, channels, samples, place_audio(timed, samples, channels, round(_JITTER * rate)), decoded
    )
