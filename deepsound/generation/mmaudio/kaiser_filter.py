"""The low-pass filter of both resamplings of `antialias`: a 12-tap Kaiser-windowed sinc.

Karras et al. 2021, appendix C. Even and odd samples of the finer signal are kept apart, so that each is a six-tap
filter of the coarse one.
"""

import math

import torch

_TAPS = 12
_CUTOFF = 0.25
_HALF_WIDTH = 0.3


def _taps() -> tuple[float, ...]:
    # Kaiser's formulas for the attenuation of a filter this long, and the window's shape above 50 dB.
    attenuation = 2.285 * (_TAPS / 2 - 1) * math.pi * 4 * _HALF_WIDTH + 7.95
    beta = 0.1102 * (attenuation - 8.7)
    window = torch.kaiser_window(_TAPS, periodic=False, beta=beta, dtype=torch.float32)
    time = torch.arange(-_TAPS // 2, _TAPS // 2, dtype=torch.float32) + 0.5
    taps = 2 * _CUTOFF * window * torch.sinc(2 * _CUTOFF * time)
    return tuple(float(tap) for tap in taps / taps.sum())


LOW_PASS = _taps()
"""The taps, which sum to one."""
REACH = 3
"""Samples of the finer signal that are missing at either end of what a resampling makes of the coarse one."""
UP = tuple(2 * tap for tap in LOW_PASS[11::-2]), tuple(2 * tap for tap in LOW_PASS[10::-2])
"""Taps that make even samples of the finer signal from sample n − 3 on, and odd ones from n − 2 on."""
DOWN = LOW_PASS[1::2], LOW_PASS[0::2]
"""Taps over even samples of the finer signal from n − 2 on, and over odd ones from n − 3 on."""
