"""A pointwise nonlinearity at twice the sample rate, so that the harmonics it makes don't fold back.

Filters are sums of shifted copies: grouped convolutions, one channel a group, take two to four times as long on a
CPU. In float32 a CPU has better still: `antialias_cpu`.
"""
# Torch's own annotations leave these partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor

from deepsound.generation.mmaudio.kaiser_filter import DOWN, REACH, UP


def snake_twice_as_fine(x: Tensor, frequency: Tensor, amplitude: Tensor) -> Tensor:
    """Resample (batch, channels, length) to twice the rate, add amplitude · sin²(frequency · x), resample back.

    frequency and amplitude are (channels,). Edges repeat the outermost sample. For inference: no gradients pass.
    """
    if x.device.type == "cpu" and x.dtype == torch.float32:
        return compiled()(x, frequency, amplitude)
    length = x.shape[-1]
    fine = x.new_empty((*x.shape[:2], 2, length + 2 * REACH))
    inside = fine[..., REACH:-REACH]
    _upsample(F.pad(x, (REACH, REACH), mode="replicate"), inside)
    bend = (inside * frequency[:, None, None]).sin_().square_()
    inside.addcmul_(amplitude[:, None, None], bend)
    fine[..., :REACH] = inside[:, :, :1, :1]
    fine[..., -REACH:] = inside[:, :, 1:, -1:]
    return _downsample(fine, length)


@functools.cache
def compiled() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """`snake_twice_as_fine` for float32 on the CPU at hand, compiled when first wanted: a GPU never needs it."""
    from deepsound.generation.mmaudio.antialias_cpu import snake_on_cpu

    return snake_on_cpu


def _upsample(padded: Tensor, fine: Tensor) -> None:
    """Fill `fine` (batch, channels, even/odd, length) from (batch, channels, length + 6)."""
    even, odd = UP
    _filter(padded, even, fine[:, :, 0])
    _filter(padded[..., 1:], odd, fine[:, :, 1])


def _downsample(fine: Tensor, length: int) -> Tensor:
    """(batch, channels, even/odd, length + 6) to (batch, channels, length)."""
    even, odd = DOWN
    out = torch.empty_like(fine[:, :, 0, :length])
    _filter(fine[:, :, 0, 1:], even, out)
    for shift, tap in enumerate(odd):
        out.add_(fine[:, :, 1, shift : shift + length], alpha=tap)
    return out


def _filter(signal: Tensor, taps: Sequence[float], out: Tensor) -> None:
    """out[n] = Σ taps[k] · signal[n + k]."""
    length = out.shape[-1]
    torch.mul(signal[..., :length], taps[0], out=out)
    for shift, tap in enumerate(taps[1:], start=1):
        out.add_(signal[..., shift : shift + length], alpha=tap)
