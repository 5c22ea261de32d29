"""Decodes a file's audio stream and aligns it with the picture's clock."""

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

_JITTER = 0.010  # seconds by which the times of adjacent packets may differ before they count as a gap
_RUN_UP = 1  # second; a decoder's output depends on packets up to a tenth of that earlier


@dataclass(slots=True)
class AudioDecoder:
    """Yields the decoded pieces of an audio stream, each with its presentation time in seconds; iterate once.

    `sample_rate` and `channels` are set from the first decoded frame; where a stream changes them midway, its
    pieces are converted. `damaged_packets` counts packets and frames that could not be decoded. Packets far
    outside `span` (seconds on the container's clock) are skipped.
    """

    container: InputContainer
    stream: AudioStream
    span: tuple[Fraction, Fraction] | None = None
    sample_rate: int = 0
    channels: int = 0
    damaged_packets: int = 0
    _layout: str = ""
    _resampler: AudioResampler | None = None
    _shape: tuple[str, str, int] | None = field(default=None)

    def __iter__(self) -> Iterator[tuple[Fraction | None, Block]]:
        packets = filter(self._is_in_span, demux(self.container, self.stream))
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

    def _is_in_span(self, packet: "Packet[AudioStream]") -> bool:
        if self.span is None or packet.pts is None:
            return True
        time = packet.pts * packet.time_base
        return self.span[0] - _RUN_UP <= time <= self.span[1] + _RUN_UP

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
    """Audio that starts at a given time of the picture: `samples` in total, in `blocks` to iterate once."""

    rate: int
    channels: int
    samples: int
    blocks: Iterator[Block]
    decoder: AudioDecoder


def decode_between(
    container: InputContainer, stream: AudioStream, begin: Fraction, end: Fraction, *, skip_outside: bool
) -> AlignedAudio | None:
    """Return the audio between two times in seconds on the container's clock; None if all of it is damaged.

    With `skip_outside`, packets far outside are not decoded if the container stores times to the sample. Where it
    rounds them, the position of a sample follows only from all samples before it, so all packets are decoded.
    """
    exact = stream.time_base is not None and stream.time_base * stream.codec_context.sample_rate <= 1
    decoder = AudioDecoder(container, stream, (begin, end) if skip_outside and exact else None)
    pieces = iter(decoder)
    first = next(pieces, None)
    if first is None and decoder.damaged_packets:
        return None
    rate = decoder.sample_rate or stream.codec_context.sample_rate
    channels = decoder.channels or stream.codec_context.channels
    samples = round((end - begin) * rate)
    timed = (
        (None if time is None else round((time - begin) * rate), block)
        for time, block in chain([] if first is None else [first], pieces)
    )
    blocks = place_audio(timed, samples, channels, round(_JITTER * rate))
    return AlignedAudio(rate, channels, samples, blocks, decoder)
