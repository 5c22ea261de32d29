"""Building blocks of the synthesis: seeded streams, noise, slow curves, overlapping events.

Sound is made in blocks of one second, channels first: (2, BLOCK). What has a memory carries it from block to
block, so that an hour needs no more room than a minute, and a longer picture begins with the same samples.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from deepsound.generation.foley.filters import SAMPLE_RATE, Sound

CONTROL_RATE = 100  # points a second of every curve that steers the sound
BLOCK = SAMPLE_RATE
_STEP = SAMPLE_RATE // CONTROL_RATE


def random_stream(seed: int, layer: str, index: int = 0) -> np.random.Generator:
    """The random numbers of one layer (and one event of it), independent of every other layer's."""
    # SeedSequence takes no negative numbers; the low 64 bits keep every seed apart that fits in them.
    entropy = (seed & 0xFFFF_FFFF_FFFF_FFFF, zlib.crc32(layer.encode()), index)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def noise(rng: np.random.Generator, width: float) -> Sound:
    """A block of white noise of unit power in two channels; `width` 0 is mono, 1 is fully decorrelated."""
    angle = width * np.pi / 4
    middle, side = rng.standard_normal((2, BLOCK))
    return np.stack([np.cos(angle) * middle + np.sin(angle) * side, np.cos(angle) * middle - np.sin(angle) * side])


class Drift:
    """A slow random curve in 0..1: a new goal every `period` seconds, smoothly approached."""

    def __init__(self, rng: np.random.Generator, period: float) -> None:
        self._rng = rng
        self._step = 1.0 / (period * SAMPLE_RATE)
        self._place = 0.0
        self._goals = rng.random(2)

    def next(self) -> Sound:
        """The next block of it: (BLOCK,)."""
        position = self._place + self._step * np.arange(BLOCK)
        end = self._place + self._step * BLOCK
        missing = int(end) + 2 - len(self._goals)
        goals = np.concatenate([self._goals, self._rng.random(max(0, missing))])
        self._goals, self._place = goals[int(end) :], end - int(end)
        index = position.astype(np.intp)
        part = position - index
        eased = part * part * (3.0 - 2.0 * part)
        return goals[index] + eased * (goals[index + 1] - goals[index])


class OverlapAdd:
    """Adds events to a stream of blocks; what rings on past the end of a block comes back in the next."""

    def __init__(self) -> None:
        self._tail = np.zeros((2, BLOCK))

    def add(self, start: int, event: Sound) -> None:
        """Place an event, (2, m), `start` samples into the coming block."""
        end = start + event.shape[1]
        if end > self._tail.shape[1]:
            self._tail = np.pad(self._tail, ((0, 0), (0, end - self._tail.shape[1])))
        self._tail[:, start:end] += event

    def take(self) -> Sound:
        """The coming block, (2, BLOCK)."""
        block, rest = self._tail[:, :BLOCK], self._tail[:, BLOCK:]
        self._tail = np.pad(rest, ((0, 0), (0, max(0, BLOCK - rest.shape[1]))))
        return block


def pan_stereo(mono: Sound, pan: float) -> Sound:
    """One channel at `pan` (−1 left to 1 right) with constant power: (2, n)."""
    angle = (np.clip(pan, -1.0, 1.0) + 1.0) * np.pi / 4
    return np.stack([np.cos(angle) * mono, np.sin(angle) * mono])


def at_audio_rate(curve: NDArray[np.floating], block: int) -> Sound:
    """The part of a control curve that steers block number `block`, one value a sample: (BLOCK,)."""
    first = block * CONTROL_RATE
    points = curve[first : first + CONTROL_RATE + 1]
    points = np.pad(points, (0, CONTROL_RATE + 1 - len(points)), mode="edge")
    return np.interp(np.arange(BLOCK) / _STEP, np.arange(CONTROL_RATE + 1), points)


def amplitude(decibels: float | Sound) -> Sound:
    """Amplitude factor of a level in dB."""
    return np.power(10.0, np.asarray(decibels, np.float64) / 20.0)
