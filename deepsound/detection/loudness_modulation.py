"""How the loudness of a sound rises and falls, band by band: what tells a crowd from rain and from barks.

Syllables make the loudness of speech rise and fall two to eight times a second (T. Houtgast and H. Steeneken, "A
review of the MTF concept in room acoustics", 1985).
"""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16000
HOP = 320
"""Samples from one row of levels to the next."""

BANDS = 12
LOWEST, HIGHEST = 150.0, 4000.0
"""Hz; the bands between are equally wide on a scale of octaves."""

RATES = ((0.1, 2.0), (2.0, 8.0), (8.0, 25.1))
"""Rises and falls a second: swells, syllables, roughness."""

_FRAME = 1024
_SILENCE = 1e-6
_DECIBEL = np.log(10) / 10
_WINDOW = np.hanning(_FRAME).astype(np.float32)
_EDGES = np.round(np.geomspace(LOWEST, HIGHEST, BANDS + 1) / SAMPLE_RATE * _FRAME).astype(int)


class LevelStream:
    """Hears one sound from its beginning, in blocks of any length."""

    def __init__(self) -> None:
        self._held = np.zeros((_FRAME - HOP) // 2, np.float32)

    def process(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Levels (n, BANDS) of what can be told by now: the natural logarithm of each band's energy."""
        held = np.concatenate((self._held, block))
        count = max(0, (held.size - _FRAME) // HOP + 1)
        self._held = held[count * HOP :]
        if not count:
            return np.zeros((0, BANDS), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(held, _FRAME)[: count * HOP : HOP]
        energy = np.square(np.abs(np.fft.rfft(frames * _WINDOW)))
        bands = np.add.reduceat(energy[:, : _EDGES[-1]], _EDGES[:-1], axis=1)
        return np.log(bands + _SILENCE).astype(np.float32)

    def finish(self) -> NDArray[np.float32]:
        """Levels of the rest, which silence follows."""
        return self.process(np.zeros((_FRAME - HOP) // 2, np.float32))


def modulations(levels: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much windows of levels (m, n, BANDS) rise and fall at each of `RATES`: (m, 3), logarithms of variances.

    Each band's variance is shared out by its discrete Fourier transform under a Hann window, and the bands' mean
    is taken. What moves by much less than a decibel is as good as still: silence, a pure tone, a steady noise.
    """
    count = levels.shape[1]
    taper = np.hanning(count + 2)[1:-1]
    moved = (levels - levels.mean(axis=1, keepdims=True)) * taper[:, None]
    spectrum = np.square(np.abs(np.fft.rfft(moved, axis=1))).mean(axis=2) * 2 / (count * np.square(taper).sum())
    rate = np.fft.rfftfreq(count, HOP / SAMPLE_RATE)
    shares = [spectrum[:, (rate >= low) & (rate < high)].sum(axis=1) for low, high in RATES]
    return np.log(np.stack(shares, axis=1) + _DECIBEL**2)
