"""What a struck thing sounds like: damped modes, the noise of the contact, and the weight behind it.

Modal synthesis: a struck body rings in a sum of exponentially damped sines whose frequency ratios belong to its
shape and whose damping belongs to its material (Fletcher and Rossing, The Physics of Musical Instruments,
chapters 2, 3 and 20; van den Doel, Kry and Pai, FoleyAutomatic, SIGGRAPH 2001, for contact and damping).
"""

from dataclasses import dataclass

import numpy as np

from deepsound.generation.foley.filters import SAMPLE_RATE, Sound, band_limited

_LONGEST = 2.5  # seconds
_TYPICAL_AREA = 0.02


@dataclass(frozen=True, slots=True)
class StruckBody:
    """What is struck.

    `pitch`: lowest mode in Hz at a typical size. `ratios`: modes over the lowest. `ring`: seconds in which the
    lowest mode falls by 60 dB; higher ones fall faster by the power `damping` of their ratio. `tilt`: dB an
    octave that higher modes are weaker, at a medium strike. `ringing`, `contact`, `weight`: peak levels of the
    modes, of the contact noise and of the low thump, 0..1. `scrape`: the noise's band in Hz; `rub`: the time
    in seconds in which it falls by 60 dB. `second`: seconds after which a weaker second contact follows.
    """

    pitch: float
    ratios: tuple[float, ...]
    ring: float
    damping: float
    tilt: float
    ringing: float
    contact: float
    scrape: tuple[float, float]
    rub: float
    weight: float
    second: float | None = None


_WOOD = (1.0, 2.572, 4.644, 6.984, 9.723)
_PLATE = (1.0, 1.58, 2.24, 2.87, 3.46, 4.21, 5.42, 6.83, 8.21, 9.9)
_GLASS = (1.0, 2.32, 4.25, 6.63, 9.38, 12.22)  # wine glass (Fletcher and Rossing, 20)
_MEMBRANE = (1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501)  # ideal membrane (Fletcher and Rossing, 3.1)
_LUMP = (1.0, 1.47, 2.09, 2.56, 3.39, 4.08, 5.31)

BODIES: dict[str, StruckBody] = {
    "wood": StruckBody(310, _WOOD, 0.22, 0.9, 7, 0.8, 0.35, (600, 4500), 0.035, 0.35),
    "metal": StruckBody(540, _PLATE, 1.5, 0.6, 4, 0.75, 0.2, (2000, 9000), 0.02, 0.1),
    "glass": StruckBody(1350, _GLASS, 0.65, 0.5, 5, 0.7, 0.2, (3500, 12000), 0.012, 0.05),
    "stone": StruckBody(760, _LUMP, 0.07, 0.4, 3, 0.6, 0.6, (900, 7000), 0.05, 0.3),
    "drum": StruckBody(92, _MEMBRANE, 0.5, 0.8, 8, 0.8, 0.2, (300, 2500), 0.05, 0.7),
    "rubber": StruckBody(150, _MEMBRANE, 0.16, 0.7, 9, 0.7, 0.3, (250, 2200), 0.05, 0.6),
    "cloth": StruckBody(110, _LUMP, 0.08, 0.8, 12, 0.15, 0.6, (150, 1400), 0.16, 0.45),
    "footstep": StruckBody(120, _LUMP, 0.09, 0.8, 9, 0.3, 0.5, (300, 3200), 0.09, 0.6, second=0.075),
    "splash": StruckBody(420, (1.0, 1.31, 1.83, 2.4), 0.12, 0.3, 2, 0.15, 0.8, (500, 6500), 0.45, 0.25),
}


def strike(body: StruckBody, area: float, force: float, rng: np.random.Generator) -> Sound:
    """One strike, mono, starting at its first sample, peak 1.

    `area`: share of the picture the thing takes: larger is lower. `force` 0..1: harder is brighter.
    """
    size = float(np.clip((_TYPICAL_AREA / max(area, 1e-4)) ** 0.25, 0.5, 1.8))
    sound = _contact(body, size, force, rng)
    if body.second is not None:
        late = np.zeros(round(body.second * float(rng.uniform(0.85, 1.15)) * SAMPLE_RATE))
        sound = _sum(sound, np.concatenate([late, 0.5 * _contact(body, 1.25 * size, 0.7 * force, rng)]))
    return _faded(sound / np.max(np.abs(sound)))


def _contact(body: StruckBody, size: float, force: float, rng: np.random.Generator) -> Sound:
    modes = body.ringing * _unit(_modes(body, size, force, rng))
    scrape = body.contact * (0.6 + 0.4 * force) * _unit(_scrape(body, force, rng))
    thump = body.weight * _thump(size, force)
    return _sum(_sum(modes, scrape), thump)


def _modes(body: StruckBody, size: float, force: float, rng: np.random.Generator) -> Sound:
    # No two things are alike and no two strikes hit the same spot: a little detuning, uneven excitation.
    ratios = np.array(body.ratios) * (1.0 + 0.012 * rng.standard_normal(len(body.ratios)))
    pitch = body.pitch * size * (1.0 + 0.03 * rng.standard_normal())
    frequency = pitch * ratios / ratios[0]
    audible = frequency < 0.45 * SAMPLE_RATE
    ratios, frequency = ratios[audible], frequency[audible]
    tilt = body.tilt * (1.5 - force)
    level = ratios ** (-tilt / 6.02) * rng.uniform(0.4, 1.0, len(ratios))
    ring = body.ring * ratios**-body.damping * (1.0 / size) ** 0.5
    time = np.arange(round(min(_LONGEST, float(ring.max())) * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros(len(time))
    for one, loud, fall in zip(frequency, level, 6.908 / ring, strict=True):
        sounding = time[: round(min(_LONGEST, 6.908 / fall) * SAMPLE_RATE)]
        sound[: len(sounding)] += loud * np.exp(-fall * sounding) * np.sin(2 * np.pi * one * sounding)
    return sound


def _scrape(body: StruckBody, force: float, rng: np.random.Generator) -> Sound:
    low, high = body.scrape
    top = min(low * 1.5 + (high - low) * (0.4 + 0.6 * force), 0.45 * SAMPLE_RATE)
    length = round(body.rub * SAMPLE_RATE)
    hiss = band_limited(rng.standard_normal(length), low, top)
    return hiss * np.exp(-6.908 * np.arange(length) / length)


def _thump(size: float, force: float) -> Sound:
    """The weight behind a strike: a low sine that sinks while it dies away."""
    time = np.arange(round(0.12 * SAMPLE_RATE)) / SAMPLE_RATE
    frequency = 62.0 * size * (1.0 + (0.6 + force) * np.exp(-time / 0.02))
    return np.exp(-time / 0.028) * np.sin(2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE)


def _unit(sound: Sound) -> Sound:
    return sound / (np.max(np.abs(sound)) + 1e-12)


def _sum(one: Sound, other: Sound) -> Sound:
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    result = longer.copy()
    result[: len(shorter)] += shorter
    return result


def _faded(sound: Sound) -> Sound:
    """Ends in a short fade, so that cutting off the last −60 dB can't click."""
    fade = min(len(sound), round(0.005 * SAMPLE_RATE))
    sound[-fade:] *= np.linspace(1.0, 0.0, fade)
    return sound
