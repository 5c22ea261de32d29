"""The sound itself, block by block: beds under impacts, with room above them."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from deepsound.generation.foley.filters import SAMPLE_RATE, Sound
from deepsound.generation.foley.impacts import Impact, render_impact
from deepsound.generation.foley.scene_beds import BedEnvelopes
from deepsound.generation.foley.synthesis import BLOCK, OverlapAdd, at_audio_rate
from deepsound.generation.foley.textures import TEXTURES

_KNEE, _CEILING = 0.6, 0.89  # amplitudes: linear up to the knee, never above the ceiling (−1 dBFS)


def mix(score: BedEnvelopes, impacts: Sequence[Impact], samples: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Blocks (n, 2) of one second, the last one shorter, `samples` in all; full scale is ±1."""
    textures = {bed: TEXTURES[bed](seed) for bed in score.gains}
    struck = OverlapAdd()
    coming = list(reversed(impacts))
    for block, first in enumerate(range(0, samples, BLOCK)):
        activity = at_audio_rate(score.activity, block)
        sound = np.zeros((2, BLOCK))
        for bed, texture in textures.items():
            heard = at_audio_rate(score.gains[bed], block) * texture(activity)
            sound += _turned(heard, at_audio_rate(score.pan, block)) if bed == "movement" else heard
        while coming and _sample(coming[-1]) < first + BLOCK:
            impact = coming.pop()
            struck.add(_sample(impact) - first, render_impact(impact, seed))
        sound += struck.take()
        yield _limited(sound)[:, : samples - first].T.astype(np.float32)


def _sample(impact: Impact) -> int:
    return round(impact.onset.time * SAMPLE_RATE)


def _turned(sound: Sound, pan: Sound) -> Sound:
    """Balance towards what moves, with constant power."""
    angle = (1.0 + 0.8 * pan) * np.pi / 4
    return np.sqrt(2.0) * np.stack([np.cos(angle), np.sin(angle)]) * sound


def _limited(sound: Sound) -> Sound:
    """Soft saturation of what rises above the knee; it has no memory, so it moves nothing in time."""
    loud = np.abs(sound)
    room = _CEILING - _KNEE
    bent = _KNEE + room * np.tanh((loud - _KNEE) / room)
    return np.where(loud > _KNEE, np.sign(sound) * bent, sound)
