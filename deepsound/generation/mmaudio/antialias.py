"""A pointwise nonlinearity at twice the sample rate, so that the harmonics it makes don't fold back.

The low-pass filter of both resamplings is a 12-tap Kaiser-windowed sinc (Karras et al. 2021, appendix C). Even
and odd samples of the finer signal are kept apart: each then is a six-tap filter of the coarse one, and a sum
of shifted copies costs a CPU a half to a quarter of what grouped convolutions do.
"""
# Torch's own annotations leave these partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor

_TAPS = 12
_CUTOFF = 0.25
_HALF_WIDTH = 0.3
_REACH = 3
_AT_ONCE = 1 << 17
"""Samples, before they are made finer, that a CPU's cache holds through all operations."""


@functools.cache
def low_pass_taps() -> tuple[float, ...]:
    """The filter's 12 taps, which sum to one."""
    # Kaiser's formulas for the attenuation of a filter this long, and the window's shape above 50 dB.
    attenuation = 2.285 * (_TAPS / 2 - 1) * math.pi * 4 * _HALF_WIDTH + 7.95
    beta = 0.1102 * (attenuation - 8.7)
    window = torch.kaiser_window(_TAPS, periodic=False, beta=beta, dtype=torch.float32)
    time = torch.arange(-_TAPS // 2, _TAPS // 2, dtype=torch.float32) + 0.5
    taps = 2 * _CUTOFF * window * torch.sinc(2 * _CUTOFF * time)
    return tuple((taps / taps.sum()).tolist())


def snake_twice_as_fine(x: Tensor, frequency: Tensor, amplitude: Tensor) -> Tensor:
    """Resample (batch, channels, length) to twice the rate, add amplitude · sin²(frequency · x), resample back.

    frequency and amplitude are (channels,). Edges repeat the outermost sample.
    """
    if x.device.type != "cpu":
        return _bent(x, frequency, amplitude)
    out = torch.empty_like(x)
    # A few channels at a time, so that the finer signal stays in cache between two operations.
    few = max(_AT_ONCE // (x.shape[0] * x.shape[-1]), 1)
    parts = (tensor.split(few, dim=-2) for tensor in (out, x, frequency[:, None], amplitude[:, None]))
    for place, signal, some, more in zip(*parts, strict=True):
        place.copy_(_bent(signal, some[:, 0], more[:, 0]))
    return out


def _bent(x: Tensor, frequency: Tensor, amplitude: Tensor) -> Tensor:
    length = x.shape[-1]
    fine = x.new_empty((*x.shape[:2], 2, length + 2 * _REACH))
    inside = fine[..., _REACH:-_REACH]
    _upsample(F.pad(x, (_REACH, _REACH), mode="replicate"), inside)
    bend = (inside * frequency[:, None, None]).sin_().square_()
    inside.addcmul_(amplitude[:, None, None], bend)
    fine[..., :_REACH] = inside[:, :, :1, :1]
    fine[..., -_REACH:] = inside[:, :, 1:, -1:]
    return _downsample(fine, length)


def _upsample(padded: Tensor, fine: Tensor) -> None:
    """Fill `fine` (batch, channels, even/odd, length) from (batch, channels, length + 6)."""
    taps = [2 * tap for tap in low_pass_taps()]
    _filter(padded, taps[11::-2], fine[:, :, 0])
    _filter(padded[..., 1:], taps[10::-2], fine[:, :, 1])


def _downsample(fine: Tensor, length: int) -> Tensor:
    """(batch, channels, even/odd, length + 6) to (batch, channels, length)."""
    taps = low_pass_taps()
    out = torch.empty_like(fine[:, :, 0, :length])
    _filter(fine[:, :, 0, 1:], taps[1::2], out)
    for shift, tap in enumerate(taps[0::2]):
        out.add_(fine[:, :, 1, shift : shift + length], alpha=tap)
    return out


def _filter(signal: Tensor, taps: Sequence[float], out: Tensor) -> None:
    """out[n] = Σ taps[k] · signal[n + k]."""
    length = out.shape[-1]
    torch.mul(signal[..., :length], taps[0], out=out)
    for shift, tap in enumerate(taps[1:], start=1):
        out.add_(signal[..., shift : shift + length], alpha=tap)
