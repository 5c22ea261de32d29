"""Two small operations on spectra: where two estimates of a voice agree, and what leaks past one."""
# SciPy leaves its interface without types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from deepsound.media.audio import Block

HOP = 512
_WINDOW = 4 * HOP
_TINY = 1e-12


def agreed(one: Block, other: Block, below_hz: float, sample_rate: int) -> Block:
    """The voice in two estimates (n, channels) of it: the harmonic mean of their magnitudes, between their phases.

    The smaller estimate counts most, so what only one of them takes for voice stays out. From `below_hz`
    upwards, where only `one` says anything, it stands alone.
    """
    first, second = _spectrum(one), _spectrum(other)
    magnitudes = np.abs(first) + np.abs(second) + _TINY
    direction = first + second
    direction /= np.abs(direction) + _TINY
    voice = 2 * np.abs(first) * np.abs(second) / magnitudes * direction
    only_one = round(below_hz * _WINDOW / sample_rate)
    voice[:, only_one:] = first[:, only_one:]
    return _sound(voice, len(one))


def without_leak(background: Block, voice: Block, leak: float) -> Block:
    """`background` after magnitude spectral subtraction (Boll, 1979) of `leak` times the voice taken from it."""
    rest = _spectrum(background)
    left = np.abs(_spectrum(voice)) * leak / (np.abs(rest) + _TINY)
    return _sound(rest * np.maximum(1 - left, 0).astype(np.float32), len(background))


@cache
def _transform() -> ShortTimeFFT:
    return ShortTimeFFT(hann(_WINDOW, sym=False).astype(np.float32), HOP, fs=1)


def _spectrum(sound: Block) -> NDArray[np.complex64]:
    """(channels, frequencies, frames); a very short sound is followed by silence."""
    padded = np.pad(sound, ((0, max(0, _WINDOW - len(sound))), (0, 0)))
    return _transform().stft(padded.T).astype(np.complex64)


def _sound(spectrum: NDArray[np.complexfloating], samples: int) -> Block:
    whole = _transform().istft(spectrum, k1=max(samples, _WINDOW))
    return np.ascontiguousarray(whole[:, :samples].T, np.float32)
