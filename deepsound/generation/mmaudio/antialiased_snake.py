"""A pointwise nonlinearity at twice the sample rate, so that the harmonics it makes don't fold back.

Each filter is a sum of shifted copies of the signal. On a CPU a grouped convolution with one channel a group takes
two to four times as long.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor

from deepsound.generation.mmaudio.kaiser_filter import DOWN, REACH, UP


def snake_twice_as_fine(x: Tensor, frequency: Tensor, amplitude: Tensor) -> Tensor:
    """Resample (batch, channels, length) to twice the rate, add amplitude · sin²(frequency · x), resample back.

    frequency and amplitude are (channels,). Edges repeat the outermost sample. For inference: no gradients pass.
    """
    length = x.shape[-1]
    fine = x.new_empty((*x.shape[:2], 2, length + 2 * REACH))
    inside = fine[..., REACH:-REACH]
    _upsample(F.pad(x, (REACH, REACH), mode="replicate"), inside)
    bend = (inside * frequency[:, None, None]).sin_().square_()
    inside.addcmul_(amplitude[:, None, None], bend)
    fine[..., :REACH] = inside[:, :, :1, :1]
    fine[..., -REACH:] = inside[:, :, 1:, -1:]
    return _downsample(fine, length)


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
