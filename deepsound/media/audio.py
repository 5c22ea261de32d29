"""Reads, writes, resamples and aligns audio as a stream of blocks, in memory that does not grow with its length.

Blocks are float32 arrays (samples, channels), full scale at ±1. Files written here are 32-bit float WAV
(RF64 beyond 4 GB) whose bytes depend on the samples alone. The audio of a source video is decoded in the sandbox:
see `extract_audio`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.container.core import Flags
from numpy.typing import NDArray

from deepsound.atomic_write import replacing
from deepsound.errors import SourceNotMediaError
from deepsound.media.media_files import check_source, media_url

Block = NDArray[np.float32]

_BLOCK_SECONDS = 1.0
_SILENT_BLOCK = 1 << 16  # samples


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Format of a sound file: sampling rate in Hz, number of channels, length in samples."""

    sample_rate: int
    channels: int
    samples: int

    @property
    def duration(self) -> float:
        """The length in seconds."""
        return self.samples / self.sample_rate


@dataclass(frozen=True, slots=True)
class ExtractedAudio(AudioFormat):
    """Format of an extracted audio track, and how many of the source's packets could not be decoded."""

    damaged_packets: int = 0


def audio_format(path: Path) -> AudioFormat:
    """Return the format of a sound file. Raises what `check_source` raises, and SourceNotMediaError."""
    with _opened(path) as file:
        return AudioFormat(file.samplerate, file.channels, file.frames)


def read_blocks(path: Path, block_samples: int) -> Iterator[Block]:
    """Yield a sound file in blocks of `block_samples`; the last may be shorter. Raises as `audio_format` does."""
    with _opened(path) as file:
        while len(block := _read(file, block_samples)):
            yield block


def read_span(path: Path, start_sample: int, stop_sample: int) -> Block:
    """Return samples [start_sample, stop_sample) of a sound file, as far as the file has them."""
    with _opened(path) as file:
        start = min(max(start_sample, 0), file.frames)
        file.seek(start)
        return _read(file, max(stop_sample - start, 0))


def read_mono(path: Path, sample_rate: int, block_seconds: float) -> Iterator[NDArray[np.float32]]:
    """Yield the mean of the channels at `sample_rate`, in blocks (n,) of `block_seconds`."""
    native = audio_format(path)
    mono = (
        block.mean(axis=1, keepdims=True)
        for block in read_blocks(path, round(_BLOCK_SECONDS * native.sample_rate))
    )
    resampled = resampled_blocks(mono, native.sample_rate, sample_rate)
    for block in regrouped(resampled, round(block_seconds * sample_rate)):
        yield block[:, 0]


def regrouped(blocks: Iterable[Block], block_samples: int) -> Iterator[Block]:
    """Yield the same samples in blocks of `block_samples`; the last may be shorter."""
    pending: list[Block] = []
    count = 0
    for block in blocks:
        pending.append(block)
        count += len(block)
        if count < block_samples:
            continue
        joined = np.concatenate(pending)
        whole = count - count % block_samples
        yield from np.split(joined[:whole], whole // block_samples)
        pending, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(pending)


def resampled_blocks(blocks: Iterable[Block], source_rate: int, target_rate: int) -> Iterator[Block]:
    """Yield `blocks` resampled to `target_rate` without delay (soxr, high quality).

    n samples give round(n * target_rate / source_rate). At equal rates the blocks pass unchanged.
    """
    if source_rate == target_rate:
        yield from blocks
        return
    stream: soxr.ResampleStream | None = None
    read = written = channels = 0
    for block in blocks:
        if stream is None:
            channels = block.shape[1]
            stream = soxr.ResampleStream(source_rate, target_rate, channels, dtype="float32")
        read += len(block)
        out = stream.resample_chunk(np.ascontiguousarray(block, np.float32))
        written += len(out)
        if len(out):
            yield out
    if stream is not None:
        tail = stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)
        yield _exactly(tail, max(round(read * target_rate / source_rate) - written, 0))


def _exactly(block: Block, samples: int) -> Block:
    return np.pad(block[:samples], ((0, max(samples - len(block), 0)), (0, 0)))


def place_audio(
    pieces: Iterable[tuple[int | None, Block]], samples: int, channels: int, slack: int
) -> Iterator[Block]:
    """Yield blocks of exactly `samples` samples in total, from pieces that each begin at a given sample.

    Gaps before, between and after the pieces are silent; what lies before sample 0, past the end, or over an
    earlier piece is cut. A piece that begins at most `slack` samples off the end of the previous one continues it
    (containers round times), and so does a piece without a time.
    """
    written = 0
    expected = 0
    first = True
    for start, block in pieces:
        is_next = start is None or (not first and abs(start - expected) <= slack)
        begin = expected if start is None or is_next else start
        first, expected = False, begin + len(block)
        kept = block[max(written - begin, 0) : max(samples - begin, 0)]
        if not len(kept):
            continue
        yield from silence(max(begin, written) - written, channels)
        yield kept
        written = max(begin, written) + len(kept)
    yield from silence(samples - written, channels)


def silence(samples: int, channels: int) -> Iterator[Block]:
    """Yield `samples` samples of silence, in blocks of bounded size."""
    for begin in range(0, samples, _SILENT_BLOCK):
        yield np.zeros((min(_SILENT_BLOCK, samples - begin), channels), np.float32)


def write_float_wav(target: Path, sample_rate: int, channels: int, blocks: Iterable[Block]) -> int:
    """Write blocks (samples, channels) as 32-bit float WAV, atomically; return the number of samples written.

    Raises DiskFullError, OutputNotWritableError, and ValueError for a block with another number of channels.
    """
    with replacing(target) as partial:
        return fill_float_wav(partial, sample_rate, channels, blocks)


def fill_float_wav(path: Path, sample_rate: int, channels: int, blocks: Iterable[Block]) -> int:
    """Do what `write_float_wav` does to a file that nobody reads yet. Raises OSError and ValueError."""
    # rf64 "auto" keeps a plain RIFF header up to 4 GB; bitexact omits the writer's name and version.
    with av.open(media_url(path), "w", format="wav", container_options={"rf64": "auto"}) as container:
        container.flags |= Flags.bitexact.value
        return _encode_float(container, sample_rate, channels, blocks)


def _encode_float(container: OutputContainer, sample_rate: int, channels: int, blocks: Iterable[Block]) -> int:
    layout = channel_layout(channels)
    stream: AudioStream = container.add_stream("pcm_f32le", rate=sample_rate, layout=layout)
    written = 0
    container.start_encoding()
    for block in blocks:
        if block.ndim != 2 or block.shape[1] != channels:
            raise ValueError(f"a block of {channels} channels was expected, not one of shape {block.shape}")
        if not len(block):
            continue
        container.mux(stream.encode(packed_frame(block, sample_rate, layout, written)))
        written += len(block)
    container.mux(stream.encode(None))
    return written


def packed_frame(block: Block, sample_rate: int, layout: str, at_sample: int) -> AudioFrame:
    """Return a block as a frame whose presentation time is `at_sample` / `sample_rate`."""
    samples = np.ascontiguousarray(block, np.float32).reshape(1, -1)
    frame = AudioFrame.from_ndarray(samples, format="flt", layout=layout)
    frame.sample_rate = sample_rate
    frame.pts = at_sample
    return frame


def channel_layout(channels: int) -> str:
    """Return FFmpeg's name of the usual layout for a number of channels; beyond 7.1 the layouts are unnamed."""
    names = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")
    return names[channels - 1] if channels <= len(names) else f"{channels} channels"


def _opened(path: Path) -> soundfile.SoundFile:
    check_source(path)
    try:
        # An absolute path keeps libsndfile from taking a file called "-" for standard input.
        return soundfile.SoundFile(path.absolute())
    except (soundfile.LibsndfileError, TypeError) as error:
        raise SourceNotMediaError("not a readable sound file", where=str(path), remedy="make it again") from error


def _read(file: soundfile.SoundFile, samples: int) -> Block:
    return np.asarray(file.read(samples, dtype="float32", always_2d=True), np.float32)
