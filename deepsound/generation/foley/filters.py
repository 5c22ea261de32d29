"""SciPy's filters as the synthesis needs them, with types."""

from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

SAMPLE_RATE = 44_100

Sound = NDArray[np.float64]


class Filter:
    """Second-order sections with memory, scaled so that white noise of unit power comes out at unit power."""

    def __init__(self, sections: Sound) -> None:
        _, response = signal.sosfreqz(sections, worN=16_384)
        power = float(np.mean(np.abs(cast(NDArray[np.complex128], response)) ** 2))
        self._sections = sections
        self._gain = 1.0 / np.sqrt(power)
        self._memory = np.zeros((len(sections), 2, 2))

    def next(self, sound: Sound) -> Sound:
        """Filter the next block, (2, n)."""
        filtered, self._memory = signal.sosfilt(self._sections, sound, axis=1, zi=self._memory)
        return self._gain * cast(Sound, filtered)


def band_pass(low: float, high: float) -> Filter:
    """White noise from `low` to `high` Hz: a Butterworth band-pass with slopes of 6 dB an octave."""
    return Filter(_band_pass(low, high, 1))


def pink_band(low: float, high: float) -> Filter:
    """Pink noise (−3 dB an octave) from `low` to `high` Hz, out of white noise.

    The pinking filter is J. O. Smith's of order three (Spectral Audio Signal Processing, "Example: Synthesis
    of 1/F Noise").
    """
    pinking = signal.tf2sos(
        [0.049922035, -0.095993537, 0.050612699, -0.004408786], [1.0, -2.494956002, 2.017265875, -0.522189400]
    )
    return Filter(np.concatenate([cast(Sound, pinking), _band_pass(low, high, 1)]))


def band_limited(sound: Sound, low: float, high: float) -> Sound:
    """One short sound, (n,), between `low` and `high` Hz with slopes of 12 dB an octave."""
    return cast(Sound, signal.sosfilt(_band_pass(low, high, 2), sound))


def _band_pass(low: float, high: float, order: int) -> Sound:
    return cast(Sound, signal.butter(order, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos"))


def running_median(curve: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Median of the `size` values around each."""
    return cast(NDArray[np.float64], ndimage.median_filter(curve.astype(np.float64), size, mode="nearest"))


def running_maximum(curve: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Maximum of the `size` values around each."""
    return cast(NDArray[np.float64], ndimage.maximum_filter1d(curve.astype(np.float64), size, mode="nearest"))
