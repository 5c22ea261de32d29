"""Two stems on disk from an estimate of the voice: what was asked for is taken out, the rest is untouched."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from deepsound.errors import ModelFailedError
from deepsound.media.audio import AudioFormat, Block, read_blocks, regrouped, write_float_wav
from deepsound.separation.removal_gain import removal_gain
from deepsound.spans import Span


def write_stems(
    estimate: Iterable[Block],
    touched: Sequence[Span],
    mix: Path,
    sound: AudioFormat,
    voice: Path,
    background: Path,
) -> None:
    """Write `voice`, the estimate faded to nothing outside `touched`, and `background`, the mix minus that.

    The estimate has the mix's rate and channels; where it is a little too long or short it is cut, or silent.
    Raises ModelFailedError for an estimate that is not a number, and what reading and writing raise.
    """
    kept = _faded(_fitted(estimate, sound), touched, sound, mix)
    write_float_wav(voice, sound.sample_rate, sound.channels, kept)
    write_float_wav(background, sound.sample_rate, sound.channels, _differences(mix, voice, sound.sample_rate))


def _fitted(blocks: Iterable[Block], sound: AudioFormat) -> Iterator[Block]:
    lacking = sound.samples
    for block in regrouped(blocks, sound.sample_rate):
        yield block[:lacking]
        lacking -= len(block[:lacking])
    while lacking:
        silence = np.zeros((min(lacking, sound.sample_rate), sound.channels), np.float32)
        yield silence
        lacking -= len(silence)


def _faded(blocks: Iterable[Block], touched: Sequence[Span], sound: AudioFormat, mix: Path) -> Iterator[Block]:
    at = 0
    for block in blocks:
        if not np.isfinite(block).all():
            raise ModelFailedError(
                f"the voice after {at / sound.sample_rate:.1f} s is not a number",
                where=str(mix),
                remedy="check the mix for samples that are not numbers, and the model's files",
            )
        stop = at + len(block)
        here = Span(at / sound.sample_rate, stop / sound.sample_rate)
        near = [span for span in touched if span.start < here.end and here.start < span.end]
        yield block * removal_gain(near, sound.duration, sound.sample_rate, at, stop)[:, None]
        at = stop


def _differences(mix: Path, voice: Path, block_samples: int) -> Iterator[Block]:
    for whole, part in zip(read_blocks(mix, block_samples), read_blocks(voice, block_samples), strict=True):
        yield whole - part
