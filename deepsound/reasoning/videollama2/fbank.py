"""Kaldi's log mel filter bank with the settings BEATs was trained on, without Kaldi or torchaudio.

Definitions are Kaldi's (feature-window.cc, mel-computations.cc): frames within the signal only, mean removed,
pre-emphasis, Povey window, power spectrum, triangles on Kaldi's mel scale, natural logarithm.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

SAMPLE_RATE = 16_000
BINS = 128

_FRAME = 400
_SHIFT = 160
_FFT = 512
_PREEMPHASIS = 0.97
_LOW, _HIGH = 20.0, SAMPLE_RATE / 2
# Kaldi reads 16-bit samples as whole numbers.
_FULL_SCALE = 2.0**15


def fbank(wave: Tensor) -> Tensor:
    """Samples (n,) at 16 kHz, full scale ±1, to log mel energies (1 + (n − 400) // 160, 128), 10 ms apart."""
    frames = (wave.float() * _FULL_SCALE).unfold(0, _FRAME, _SHIFT)
    frames = frames - frames.mean(dim=1, keepdim=True)
    before = functional.pad(frames[:, None], (1, 0), mode="replicate")[:, 0, :-1]
    frames = (frames - _PREEMPHASIS * before) * _povey_window()
    power: Tensor = torch.fft.rfft(frames, n=_FFT).abs().square()
    energies = power[:, :-1] @ _mel_triangles().T
    return energies.clamp(min=torch.finfo(torch.float32).eps).log()


def _povey_window() -> Tensor:
    return torch.hann_window(_FRAME, periodic=False) ** 0.85


def _mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log(1.0 + hertz / 700.0)


def _mel_triangles() -> Tensor:
    """(128, 256): triangles equally spaced in mel from 20 Hz to half the sample rate, each bin's weight."""
    low, high = (1127.0 * math.log(1.0 + edge / 700.0) for edge in (_LOW, _HIGH))
    edges = low + torch.arange(BINS + 2)[:, None] * ((high - low) / (BINS + 1))
    bins = _mel(torch.arange(_FFT // 2) * (SAMPLE_RATE / _FFT))[None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0)
