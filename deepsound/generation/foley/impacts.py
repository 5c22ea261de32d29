"""What an impact sounds like: chosen by the colour, size and force of what was seen, and by the prompt."""

import colorsys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepsound.generation.foley.filters import SAMPLE_RATE, Sound
from deepsound.generation.foley.modal_synthesis import BODIES, strike
from deepsound.generation.foley.prompt_words import IMPACTS, Steering
from deepsound.generation.foley.scene_beds import Scene
from deepsound.generation.foley.synthesis import amplitude, pan_stereo, random_stream
from deepsound.generation.foley.visual_onsets import Onset

_FAINTEST, _FIERCEST = 0.005, 1.0  # changes of motion that sound at −27 and −6 dBFS
_QUIETEST, _LOUDEST = -27.0, -6.0
_ASKED_FOR = 2.0


@dataclass(frozen=True, slots=True)
class Impact:
    """An onset with its material, its force in 0..1, and why the material was chosen."""

    onset: Onset
    material: str
    force: float
    reason: str


def choose_impacts(onsets: Sequence[Onset], scenes: Sequence[Scene], steering: Steering) -> tuple[Impact, ...]:
    """A material for every onset; none where the prompt rules impacts out."""
    allowed = [material for material in BODIES if material not in steering.unwanted]
    if IMPACTS in steering.unwanted or not allowed:
        return ()
    starts = [scene.start for scene in scenes]
    impacts: list[Impact] = []
    for onset in onsets:
        beds = scenes[bisect_right(starts, onset.time) - 1].beds
        wetness = beds["water"].weight if "water" in beds else 0.0
        impacts.append(_choose(onset, allowed, steering, wetness))
    return tuple(impacts)


def _choose(onset: Onset, allowed: list[str], steering: Steering, wetness: float) -> Impact:
    force = float(np.clip(np.log(onset.strength / _FAINTEST) / np.log(_FIERCEST / _FAINTEST), 0.0, 1.0))
    likeness = _likeness(onset, force, wetness)
    material = max(allowed, key=lambda name: likeness[name] + _ASKED_FOR * (name in steering.wanted))
    if material in steering.wanted:
        return Impact(onset, material, force, "asked for")
    red, green, blue = (round(255 * part) for part in onset.colour)
    reason = f"colour #{red:02x}{green:02x}{blue:02x}, area {onset.area:.0%}, force {force:.2f}"
    return Impact(onset, material, force, reason)


def _likeness(onset: Onset, force: float, wetness: float) -> dict[str, float]:
    """How well each material fits what moves: a rule of thumb each, in 0..1."""
    hue, saturation, value = colorsys.rgb_to_hsv(*onset.colour)
    warm = float(hue < 0.13 or hue > 0.92)
    grey = 1.0 - min(1.0, saturation / 0.3)
    small = 1.0 - min(1.0, onset.area / 0.2)
    gentle = 1.0 - force
    return {
        "wood": 0.6 * warm * min(1.0, saturation / 0.3) + 0.2 * force,
        "metal": grey * value * (0.4 + 0.5 * force),
        "glass": 0.8 * float(0.4 < hue < 0.65) * value * small,
        "stone": grey * (1.0 - value) * (0.3 + 0.6 * force),
        "drum": (1.0 - small) * (1.0 - value) * force,
        "rubber": 0.75 * small * max(0.0, saturation - 0.35) / 0.65 + 0.15,
        "cloth": 0.35 + 0.45 * gentle * (1.0 - small),
        "footstep": 0.0,
        "splash": wetness,
    }


def render_impact(impact: Impact, seed: int) -> Sound:
    """The impact at its level and place, (2, n), with the first reflections of a small room around it."""
    rng = random_stream(seed, "impact", impact.onset.frame)
    dry = strike(BODIES[impact.material], impact.onset.area, impact.force, rng)
    level = amplitude(_QUIETEST + (_LOUDEST - _QUIETEST) * impact.force)
    direct = pan_stereo(dry, impact.onset.pan)
    around = _reflections(dry, rng)
    around[:, : direct.shape[1]] += direct
    return level * around / np.max(np.abs(around))


def _reflections(dry: Sound, rng: np.random.Generator) -> Sound:
    """Sparse echoes that die away within 0.3 s, other ones on each side (velvet noise)."""
    tail = round(0.3 * SAMPLE_RATE)
    wet = np.zeros((2, len(dry) + tail))
    for side in range(2):
        for delay in np.sort(rng.uniform(0.004, 0.28, 40)):
            start = round(float(delay) * SAMPLE_RATE)
            loud = 0.16 * np.exp(-delay / 0.07) * rng.choice((-1.0, 1.0))
            wet[side, start : start + len(dry)] += loud * dry
    return wet
