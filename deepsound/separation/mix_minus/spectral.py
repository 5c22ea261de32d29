"""Two small operations on spectra: where two estimates of a voice agree, and what leaks past one."""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from deepsound.media.audio import Block

Spectrum = NDArray[np.complexfloating]

HOP = 512
_WINDOW = 4 * HOP
_TINY = 1e-12


def combine_estimates(one: Block, other: Block, below_hz: float, sample_rate: int) -> Block:
    """The voice in two estimates (n, channels) of it: the harmonic mean of their magnitudes, `other`'s phases.

    The smaller estimate counts most, so what only one of them takes for voice stays out. From `below_hz`
    upwards, where only `one` says anything, it stands alone.
    """
    only_one = round(below_hz * _WINDOW / sample_rate)

    def agree(first: Spectrum, second: Spectrum) -> Spectrum:
        level = np.abs(first)
        voice = second * (2 * level / (level + np.abs(second) + _TINY))
        voice[only_one:] = first[only_one:]
        return voice

    return _channel_by_channel(agree, one, other)


def subtract_leak(background: Block, voice: Block, leak: float) -> Block:
    """`background` after magnitude spectral subtraction (Boll, 1979) of `leak` times the voice taken from it."""

    def subtract(rest: Spectrum, taken: Spectrum) -> Spectrum:
        left = np.abs(taken) * leak / (np.abs(rest) + _TINY)
        return rest * np.maximum(1 - left, 0)

    return _channel_by_channel(subtract, background, voice)


def _channel_by_channel(work: Callable[[Spectrum, Spectrum], Spectrum], one: Block, other: Block) -> Block:
    """What `work` makes of the spectra of two sounds, one channel after the other to spare memory."""
    pairs = zip(one.T, other.T, strict=True)
    return np.stack([_sound(work(_spectrum(a), _spectrum(b)), len(one)) for a, b in pairs], axis=1)


@cache
def _transform() -> ShortTimeFFT:
    return ShortTimeFFT(hann(_WINDOW, sym=False).astype(np.float32), HOP, fs=1)


def _spectrum(channel: NDArray[np.float32]) -> Spectrum:
    """(frequencies, frames); a very short sound is followed by silence."""
    padded = np.pad(channel, (0, max(0, _WINDOW - len(channel))))
    return _transform().stft(padded).astype(np.complex64)


def _sound(spectrum: Spectrum, samples: int) -> NDArray[np.float32]:
    return _transform().istft(spectrum, k1=max(samples, _WINDOW))[:samples].astype(np.float32)
