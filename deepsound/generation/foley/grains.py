"""Textures made of many short events: drops, bubbles, crackles, leaves."""

from collections.abc import Callable

import numpy as np

from deepsound.generation.foley.filters import SAMPLE_RATE, Sound
from deepsound.generation.foley.synthesis import BLOCK, OverlapAdd, pan_stereo


class Grains:
    """Events at random times and places, `rate` a second at full density."""

    def __init__(
        self, rng: np.random.Generator, rate: float, grain: Callable[[np.random.Generator], Sound]
    ) -> None:
        self._rng = rng
        self._rate = rate
        self._grain = grain
        self._overlap = OverlapAdd()

    def next(self, density: Sound) -> Sound:
        """The coming block, (2, BLOCK); `density` (BLOCK,) in 0..1 thins the events out."""
        # As much chance is drawn as full density needs: the picture leaves events out without moving the others.
        count = int(self._rng.poisson(self._rate * BLOCK / SAMPLE_RATE))
        starts = self._rng.integers(0, BLOCK, count)
        pans = self._rng.uniform(-0.9, 0.9, count)
        heard = self._rng.random(count) < density[starts]
        for start, pan, is_heard in zip(starts.tolist(), pans.tolist(), heard.tolist(), strict=True):
            event = self._grain(self._rng)
            if is_heard:
                self._overlap.add(start, pan_stereo(event, pan))
        return self._overlap.take()


def bubble(rng: np.random.Generator) -> Sound:
    """A bubble's rising, dying tone (van den Doel, Physically Based Models for Liquid Sounds, 2005, section 3)."""
    # 0.7 to 2.1 mm: larger bubbles sing below 1.4 kHz, where voice detection takes a run of them for speech.
    radius = 0.0007 * 3.0 ** rng.random()
    frequency, damping = 3.0 / radius, 0.13 / radius + 0.0072 * radius**-1.5
    rise = 0.1 * damping * rng.random()
    time = np.arange(round(min(0.15, 6.0 / damping) * SAMPLE_RATE)) / SAMPLE_RATE
    loud = rng.random() ** 2 * (radius / 0.0021) ** 0.3
    return loud * np.exp(-damping * time) * np.sin(2 * np.pi * frequency * time * (1.0 + 0.5 * rise * time))


def drop(rng: np.random.Generator) -> Sound:
    """A drop on a hard surface: a click of noise and a short high tone."""
    time = np.arange(round(0.008 * SAMPLE_RATE)) / SAMPLE_RATE
    frequency, fall = rng.uniform(1800, 6500), rng.uniform(500, 1400)
    tone = np.sin(2 * np.pi * frequency * time)
    click = rng.standard_normal(len(time)) * np.exp(-3000 * time)
    return rng.random() ** 3 * np.exp(-fall * time) * (0.7 * tone + 0.5 * click)


def leaf(rng: np.random.Generator) -> Sound:
    """One leaf brushing another: a soft-edged puff of high noise."""
    length = round(rng.uniform(0.015, 0.09) * SAMPLE_RATE)
    hiss = np.diff(rng.standard_normal(length + 1))
    return 0.5 * rng.random() ** 2 * np.hanning(length) ** 2 * hiss


def crackle(rng: np.random.Generator) -> Sound:
    """A snap of burning wood: a very short burst with a body of its own."""
    time = np.arange(round(0.012 * SAMPLE_RATE)) / SAMPLE_RATE
    frequency, fall = rng.uniform(700, 4500), rng.uniform(400, 2000)
    burst = 0.6 * rng.standard_normal(len(time)) + np.sin(2 * np.pi * frequency * time)
    return rng.random() ** 5 * np.exp(-fall * time) * burst
