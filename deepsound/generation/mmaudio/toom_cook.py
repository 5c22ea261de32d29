"""Convolutions with half of the products: wide ones on a CPU, which spend nearly all of their time on these.

Four outputs of a filter of four taps take sixteen products, which here are of channels by channels. As
coefficients of a product of polynomials, turned round, they follow from its values at seven points, each one
product (Toom 1963, Cook 1966; as minimal filtering F(4, 4), Winograd 1980; for networks Lavin & Gray 2016).
A longer filter is a sum of such, each a tile of four samples further on; one that reads every n-th sample is n
interleaved ones.

Importing this compiles for the CPU at hand, and keeps nothing on disk, as `antialias_cpu` does.
"""
# Numba and torch have no annotations, or partly unknown ones; what Numba compiles reads better without.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportMissingParameterType=false, reportMissingTypeStubs=false
# pyright: reportUntypedFunctionDecorator=false

from functools import partial

import numpy as np
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsound.generation.mmaudio.row_threads import share_rows

_TILE = 4
"""Outputs of a tile, and taps of a filter."""
_FINITE = (0.0, 1.0, -1.0, 2.0, -0.5, 0.5)
_POINTS = len(_FINITE) + 1
"""The last one is infinity, where a polynomial is its highest coefficient. With these, float32 loses two bits."""


def _values(coefficients: int) -> NDArray[np.float64]:
    """What makes of so many coefficients the values at all points."""
    highest = np.eye(coefficients)[-1:]
    return np.concatenate([np.vander(_FINITE, coefficients, increasing=True), highest])


_VALUES = _values(_TILE)
# Filtering is the transpose of multiplying polynomials, so that what went in comes out, and the other way round.
_OF_INPUTS = np.ascontiguousarray(np.linalg.inv(_values(_POINTS)).T, np.float32)
_TO_OUTPUTS = np.ascontiguousarray(_VALUES.T, np.float32)
_1, _4 = np.uint64(1), np.uint64(_TILE)


class ToomCookConv1d(nn.Module):
    """The same as `conv`, which keeps the length, in float32 on a CPU, with twice its weights in memory."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        (self.kernel,), (self.dilation,) = conv.kernel_size, conv.dilation
        self.filters = -(-self.kernel // _TILE)
        outputs, inputs, _ = conv.weight.shape
        taps = F.pad(conv.weight, (0, self.filters * _TILE - self.kernel)).unflatten(-1, (-1, _TILE))
        # A product of its own at every point: a group of channels each.
        values = F.linear(taps, taps.new_tensor(_VALUES))
        weight = values.permute(3, 0, 1, 2).reshape(_POINTS * outputs, inputs, self.filters)
        self.weight = nn.Parameter(weight, requires_grad=False)
        bias = taps.new_zeros(outputs) if conv.bias is None else conv.bias
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, length) to (batch, outputs, length)."""
        batch, inputs, length = x.shape
        outputs, tiles = len(self.bias), -(-length // (_TILE * self.dilation))
        values = x.new_empty((batch, _POINTS, inputs, (tiles + self.filters - 1) * self.dilation))
        before = self.dilation * (self.kernel - 1) // 2
        for signals, target in zip(x.contiguous().numpy(), values.numpy(), strict=True):
            share_rows(inputs, partial(_evaluate, signals, self.dilation, before, target))
        products = F.conv1d(values.flatten(1, 2), self.weight, dilation=self.dilation, groups=_POINTS)
        out, bias = x.new_empty((batch, outputs, length)), self.bias.numpy()
        found_at_points = products.contiguous().unflatten(1, (_POINTS, -1)).numpy()
        for found, target in zip(found_at_points, out.numpy(), strict=True):
            share_rows(outputs, partial(_interpolate, found, bias, self.dilation, target))
        return out


@njit
def _take_apart(signal, step, apart):
    """Every tile's first samples, its second ones, and so on: (4, tiles · step) of (4 · tiles · step)."""
    if step == _1:
        for tile in range(np.uint64(apart.shape[1])):
            for sample in range(_4):
                apart[sample, tile] = signal[_4 * tile + sample]
        return
    for start in range(np.uint64(0), np.uint64(apart.shape[1]), step):
        for sample in range(_4):
            for phase in range(step):
                apart[sample, start + phase] = signal[_4 * start + sample * step + phase]


@njit
def _put_together(apart, step, signal):
    """What `_take_apart` took apart."""
    if step == _1:
        for tile in range(np.uint64(apart.shape[1])):
            for sample in range(_4):
                signal[_4 * tile + sample] = apart[sample, tile]
        return
    for start in range(np.uint64(0), np.uint64(apart.shape[1]), step):
        for sample in range(_4):
            for phase in range(step):
                signal[_4 * start + sample * step + phase] = apart[sample, start + phase]


@njit("void(f4[:,::1], i8, i8, f4[:,:,::1], i8, i8)", fastmath={"contract"}, nogil=True)
def _evaluate(signals, dilation, before, values, first, last):
    """Signals `first` to `last` (length,), behind so many zeros, tile by tile at every point.

    values (points, signals, tiles · dilation).
    """
    length, count = signals.shape[1], values.shape[2]
    step, offset = np.uint64(dilation), np.uint64(before)
    padded = np.zeros(_TILE * (count + dilation), np.float32)
    apart = np.empty((_TILE, count + dilation), np.float32)
    for row in range(first, last):
        for at in range(np.uint64(length)):
            padded[at + offset] = signals[row, at]
        _take_apart(padded, step, apart)
        for point in range(_POINTS):
            taps, value = _OF_INPUTS[point], values[point, row]
            for at in range(np.uint64(count)):
                following = at + step
                value[at] = (
                    taps[0] * apart[0, at]
                    + taps[1] * apart[1, at]
                    + taps[2] * apart[2, at]
                    + taps[3] * apart[3, at]
                    + taps[4] * apart[0, following]
                    + taps[5] * apart[1, following]
                    + taps[6] * apart[2, following]
                )


@njit("void(f4[:,:,::1], f4[::1], i8, f4[:,::1], i8, i8)", fastmath={"contract"}, nogil=True)
def _interpolate(products, bias, dilation, signals, first, last):
    """Signals `first` to `last` (length,) of products (points, signals, tiles · dilation)."""
    length, count = signals.shape[1], products.shape[2]
    apart = np.empty((_TILE, count), np.float32)
    padded = np.empty(_TILE * count, np.float32)
    for row in range(first, last):
        for output in range(_TILE):
            taps, samples = _TO_OUTPUTS[output], apart[output]
            for at in range(np.uint64(count)):
                samples[at] = (
                    bias[row]
                    + taps[0] * products[0, row, at]
                    + taps[1] * products[1, row, at]
                    + taps[2] * products[2, row, at]
                    + taps[3] * products[3, row, at]
                    + taps[4] * products[4, row, at]
                    + taps[5] * products[5, row, at]
                    + taps[6] * products[6, row, at]
                )
        _put_together(apart, np.uint64(dilation), padded)
        for at in range(np.uint64(length)):
            signals[row, at] = padded[at]
