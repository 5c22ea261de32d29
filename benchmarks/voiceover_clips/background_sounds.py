"""Sounds without people, one set for each half: what speech is laid over, and what might be taken for a voice.

Everything is mono float32 (n,) at 48 kHz, and the same call gives the same samples.
"""

from collections.abc import Callable, Mapping

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from deepsound.generation.foley import textures
from deepsound.generation.foley.filters import SAMPLE_RATE as FOLEY_RATE
from deepsound.generation.foley.synthesis import BLOCK
from tests import voice_samples
from tests.voice_samples import Sound

RATE = 48_000
Maker = Callable[[float, int], Sound]


def engine(seconds: float, seed: int) -> Sound:
    """A motor: pulses at a wandering rate through its body, with fan noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    speed = rng.uniform(28, 70) * (1 + 0.08 * np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * time + rng.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(speed) / RATE
    pulses = np.sum([np.cos(k * phase + k) / k for k in range(1, 24)], axis=0)
    fan = sosfilt(_band(300, 5000), rng.standard_normal(time.size))
    return _level(pulses + 0.4 * fan)


def hum(seconds: float, seed: int) -> Sound:
    """A vacuum cleaner or saw: steady harmonics of a whine in broad noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = rng.uniform(180, 420) * (1 + 0.1 * np.tanh(np.sin(2 * np.pi * 0.3 * time + rng.uniform(0, 6))))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    whine = np.sum([np.sin(k * phase) / k**1.2 for k in range(1, 12)], axis=0)
    return _level(whine + sosfilt(_band(500, 9000), rng.standard_normal(time.size)))


def reed(seconds: float, seed: int) -> Sound:
    """A saxophone's like: a buzzing tone on a tune, through two fixed resonances, with vibrato."""
    rng = np.random.default_rng(seed)
    return _solo(rng, seconds, rng.choice([147.0, 185.0, 220.0]), ((500, 900), (1200, 1900)), 0.35)


def bowed(seconds: float, seed: int) -> Sound:
    """A violin's like: a brighter tone, slower bows, wider vibrato."""
    rng = np.random.default_rng(seed)
    return _solo(rng, seconds, rng.choice([294.0, 392.0, 440.0]), ((400, 1200), (2200, 3600)), 0.8)


def organ(seconds: float, seed: int) -> Sound:
    """Held chords of an organ."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    sound = np.zeros(time.size)
    for first in np.arange(0, seconds, 1.3):
        held = (time >= first) * (1 - np.exp(-np.maximum(time - first, 0) / 0.05)) * (time < first + 1.3)
        for pitch in 110 * 2 ** (rng.choice([0, 4, 7, 12, 16, 19], size=3, replace=False) / 12):
            sound += held * np.sum([np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 2, 3, 4, 8)], axis=0)
    return _level(sound)


def calls(seconds: float, seed: int) -> Sound:
    """Animals that call: barks and bleats, harmonic tones that glide, through a throat that does not move."""
    return _animals(np.random.default_rng(seed), seconds, (160, 420), (0.12, 0.45), 5)


def howls(seconds: float, seed: int) -> Sound:
    """Animals that howl and screech: longer and higher glides."""
    return _animals(np.random.default_rng(seed), seconds, (350, 1100), (0.4, 1.1), 3)


def chirps(seconds: float, seed: int) -> Sound:
    """Birds: short whistles that sweep, over a soft wind."""
    rng = np.random.default_rng(seed)
    sound = 0.1 * voice_samples.pink(seconds, RATE, seed).astype(np.float64)
    for first in np.sort(rng.uniform(0, seconds - 0.3, size=round(4 * seconds))):
        time = np.arange(round(rng.uniform(0.05, 0.2) * RATE)) / RATE
        pitch = rng.uniform(2200, 5200) + rng.uniform(-6000, 6000) * time + 200 * np.sin(2 * np.pi * 30 * time)
        note = np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.hanning(time.size)
        start = round(first * RATE)
        sound[start : start + note.size] += 0.3 * note[: sound.size - start]
    return _level(sound)


def foley(name: str) -> Maker:
    """One of the beds of the embedded generator, with a little activity in the picture."""

    def make(seconds: float, seed: int) -> Sound:
        texture = getattr(textures, name)(seed)
        blocks = [texture(np.full(BLOCK, 0.4)) for _ in range(int(np.ceil(seconds * FOLEY_RATE / BLOCK)))]
        mono = np.concatenate(blocks, axis=1).mean(axis=0).astype(np.float32)
        return _level(soxr.resample(mono, FOLEY_RATE, RATE)[: round(seconds * RATE)])

    return make


def _made(maker: Callable[..., Sound]) -> Maker:
    return lambda seconds, seed: maker(seconds, RATE, seed)


BEDS: Mapping[str, Mapping[str, Maker]] = {
    "development": {
        "rain": _made(voice_samples.rain),
        "impacts": _made(voice_samples.impacts),
        "engine": engine,
        "wind": foley("wind"),
        "water": foley("water"),
    },
    "held-out": {
        "pink noise": _made(voice_samples.pink),
        "hum": hum,
        "chirps": chirps,
        "foley rain": foley("rain"),
        "fire": foley("fire"),
        "traffic": foley("traffic"),
    },
}
MUSIC: Mapping[str, Mapping[str, Maker]] = {
    "development": {"plucked chords": _made(voice_samples.music)},
    "held-out": {"organ": organ},
}
MISTAKABLE: Mapping[str, Mapping[str, Maker]] = {
    "development": {"reed": reed, "calls": calls},
    "held-out": {"bowed": bowed, "howls": howls},
}


def _solo(
    rng: np.random.Generator, seconds: float, root: float, resonances: tuple[tuple[int, int], ...], longest: float
) -> Sound:
    time = np.arange(round(seconds * RATE)) / RATE
    pitch, loud = np.empty(time.size), np.empty(time.size)
    at = 0
    while at < time.size:
        note = slice(at, min(at + round(rng.uniform(0.2, longest) * RATE), time.size))
        within = np.arange(note.stop - at) / RATE
        pitch[note] = root * 2 ** (rng.choice([-5, 0, 2, 3, 5, 7, 10, 12]) / 12)
        loud[note] = np.minimum(1, within / 0.04) * np.exp(-0.6 * within)
        at = note.stop
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.006 * np.sin(2 * np.pi * 5 * time))) / RATE
    buzz = np.sum([np.sin(k * phase) / k for k in range(1, 30)], axis=0) * loud
    return _level(0.3 * buzz + sum(sosfilt(_band(*edges), buzz) for edges in resonances))


def _animals(
    rng: np.random.Generator, seconds: float, pitches: tuple[int, int], lengths: tuple[float, float], count: int
) -> Sound:
    sound = 0.05 * rng.standard_normal(round(seconds * RATE))
    body = rng.uniform(500, 1100)
    for first in np.sort(rng.uniform(0, seconds - lengths[1], size=count)):
        time = np.arange(round(rng.uniform(*lengths) * RATE)) / RATE
        glide = 2 ** (rng.uniform(-0.6, 0.4) * time / time[-1] + 0.2 * np.sin(np.pi * time / time[-1]))
        phase = 2 * np.pi * np.cumsum(rng.uniform(*pitches) * glide) / RATE
        rough = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(25, 70) * time)
        tone = np.sum([np.sin(k * phase) / k**0.7 for k in range(1, 16)], axis=0) * rough * np.hanning(time.size)
        start = round(first * RATE)
        sound[start : start + tone.size] += sosfilt(_band(body * 0.7, body * 1.5), tone) + 0.2 * tone
    return _level(sound)


def _band(low: float, high: float) -> NDArray[np.float64]:
    return butter(2, [low, high], "bandpass", fs=RATE, output="sos")


def _level(sound: NDArray[np.floating]) -> Sound:
    scaled = sound * (0.1 / float(np.sqrt(np.square(sound).mean())))
    return (scaled * min(1.0, 0.95 / np.abs(scaled).max())).astype(np.float32)
