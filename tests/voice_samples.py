"""Speech and backgrounds for tests, made here: no recording, no network, no program outside the environment.

Speech comes from eSpeak NG (tests/espeak.py), backgrounds from a few lines of NumPy. Everything is mono
float32 (n,), and the same call gives the same samples.
"""

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from deepsound.spans import Span, merge

Sound = NDArray[np.float32]

VOICES = ("en-us", "en-gb+f3", "de+m7", "fr+f2")
"""A man, a woman and two speakers of other languages; any `language+variant` of eSpeak NG works."""

NARRATION = (
    "In the winter of nineteen thirty six the whole village came down to the river to see the ice break. "
    "Nobody who stood on the bridge that morning ever forgot the sound of it."
)

_LEVEL = 0.1
_FRAME = 0.01


@dataclass(frozen=True, slots=True)
class Mix:
    """What was mixed, and the two parts exactly as they stand in it: mix = voice + background, each (n,)."""

    mix: Sound
    voice: Sound
    background: Sound


def speak(text: str = NARRATION, voice: str = "en-us", rate: int = 48000) -> Sound:
    """`text` spoken by `voice` at `rate` samples a second, (n,), without silence before and after."""
    spoken, native = _synthesise(text, voice)
    loud = np.flatnonzero(np.abs(spoken) > 0.01 * np.abs(spoken).max())
    trimmed = spoken[loud[0] : loud[-1] + 1]
    return _levelled(soxr.resample(trimmed, native, rate))


def place(sound: Sound, start: float, seconds: float, rate: int = 48000) -> Sound:
    """`sound` begun at `start` seconds in a silence `seconds` long; what would stand over the end is cut."""
    track = np.zeros(round(seconds * rate), np.float32)
    first = round(start * rate)
    heard = sound[: max(0, track.size - first)]
    track[first : first + heard.size] = heard
    return track


def active_spans(speech: Sound, rate: int = 48000, gap: float = 0.3) -> tuple[Span, ...]:
    """Where clean `speech` sounds: within 35 dB of its loudest 10 ms; pauses up to `gap` seconds bridged."""
    frames = np.flatnonzero(_active_frames(speech, rate))
    return merge((Span(float(i * _FRAME), float((i + 1) * _FRAME)) for i in frames), gap)


def mix_at(speech: Sound, background: Sound, snr_db: float, rate: int = 48000) -> Mix:
    """`speech` over `background` (same length), `snr_db` apart in level while the speech is active.

    Both are turned down together where the sum would come closer than 0.4 dB to full scale.
    """
    step = round(rate * _FRAME)
    active = np.repeat(_active_frames(speech, rate), step)[: speech.size]
    active = np.pad(active, (0, speech.size - active.size))
    ratio = _rms(background[active]) / _rms(speech[active])
    voice = (speech * ratio * 10 ** (snr_db / 20)).astype(np.float32)
    scale = np.float32(min(1.0, 0.95 / max(1e-9, float(np.abs(voice + background).max()))))
    return Mix((voice * scale + background * scale).astype(np.float32), voice * scale, background * scale)


def pink(seconds: float, rate: int = 48000, seed: int = 0) -> Sound:
    """Noise that falls 3 dB an octave: a room, a machine, wind."""
    return _levelled(_coloured(round(seconds * rate), rate, np.random.default_rng(seed), 0.5))


def rain(seconds: float, rate: int = 48000, seed: int = 0) -> Sound:
    """Steady rain: a bright hiss with a few hundred single drops a second."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    drops = np.zeros(n, np.float64)
    at = rng.integers(0, n, size=round(300 * seconds))
    drops[at] = rng.exponential(1.0, at.size)
    drops = sosfilt(butter(2, [1500, 6000], "bandpass", fs=rate, output="sos"), drops)
    hiss = sosfilt(butter(2, 800, "highpass", fs=rate, output="sos"), _coloured(n, rate, rng, 0.25))
    return _levelled(hiss / _rms(hiss) + drops / _rms(drops))


def impacts(seconds: float, rate: int = 48000, seed: int = 0) -> Sound:
    """Things being struck, about twice a second: each a handful of decaying modes, over a very soft room."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    sound = 0.02 * _coloured(n, rate, rng, 0.5)
    ring = np.arange(round(0.4 * rate)) / rate
    for first in rng.integers(0, n, size=max(1, round(2 * seconds))):
        modes = rng.uniform(180, 3500, size=6)
        decay = rng.uniform(15, 60, size=6)
        blow = (np.sin(2 * np.pi * modes[:, None] * ring) * np.exp(-decay[:, None] * ring)).sum(axis=0)
        sound[first : first + ring.size] += rng.uniform(0.3, 1) * blow[: n - first]
    return _levelled(sound)


def music(seconds: float, rate: int = 48000, seed: int = 0) -> Sound:
    """Four chords in turn, a second each, of plucked harmonic tones with a bass."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    root = 220 * 2 ** (rng.integers(0, 12) / 12)
    sound = np.zeros(n)
    for beat in range(int(np.ceil(seconds))):
        first = beat * rate
        time = np.arange(min(rate, n - first)) / rate
        for semitones in ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))[beat % 4]:
            sound[first : first + time.size] += _pluck(root * 2 ** (semitones / 12), time)
        sound[first : first + time.size] += 2 * _pluck(root / 2, time)
    return _levelled(sound)


def _pluck(pitch: float, time: NDArray[np.float64]) -> NDArray[np.float64]:
    partials = np.arange(1, 7)
    shape = np.exp(-2.5 * time) * np.minimum(1, time / 0.01)
    return shape * (np.sin(2 * np.pi * pitch * partials[:, None] * time) / partials[:, None]).sum(axis=0)


def _coloured(n: int, rate: int, rng: np.random.Generator, slope: float) -> NDArray[np.float64]:
    """Noise whose amplitude falls as frequency ** -slope above 20 Hz, RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / rate), 20.0)
    noise = np.fft.irfft(spectrum * frequency**-slope, n)
    return noise / _rms(noise)


def _active_frames(speech: Sound, rate: int) -> NDArray[np.bool_]:
    step = round(rate * _FRAME)
    frames = np.pad(speech, (0, -speech.size % step)).reshape(-1, step)
    level = np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1))
    return level > max(level.max() * 10 ** (-35 / 20), 1e-6)


def _levelled(sound: NDArray[np.floating]) -> Sound:
    scaled = sound * (_LEVEL / _rms(sound))
    return (scaled * min(1.0, 0.95 / np.abs(scaled).max())).astype(np.float32)


def _rms(sound: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.square(sound, dtype=np.float64).mean()))


@cache
def _synthesise(text: str, voice: str) -> tuple[Sound, int]:
    file = voice.replace("en-gb", "en", 1)  # eSpeak NG's file for British English is plain "en"
    command = [sys.executable, str(Path(__file__).with_name("espeak.py")), file]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, "<i2").astype(np.float32) / 32768, int(done.stderr)
