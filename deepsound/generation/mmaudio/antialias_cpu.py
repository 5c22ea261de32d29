"""`antialias` compiled for the CPU at hand: a signal is read once, and what lies between stays in nearest cache.

The same steps as whole-tensor operations take seven times as long, most of it on the way to memory and back.
Importing this compiles for a second. Nothing is kept on disk, where it would have to be trusted.
"""
# Numba has no annotations, and what it compiles reads better without.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportMissingParameterType=false, reportMissingTypeStubs=false
# pyright: reportUntypedFunctionDecorator=false

from functools import partial

import numpy as np
import torch
from numba import njit
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor

from deepsound.generation.mmaudio.kaiser_filter import DOWN, REACH, UP
from deepsound.generation.mmaudio.row_threads import share_rows

_BLOCK = 1024
"""Samples whose finer signal, twice as many, stays in the nearest cache."""
_MARGIN = 2 * REACH
# Unsigned, or every index would be asked whether it counts from the end, which no vector instruction does.
_1, _2, _3, _4, _5, _6 = (np.uint64(shift) for shift in range(1, 7))
_UP_EVEN, _UP_ODD = (tuple(np.float32(tap) for tap in taps) for taps in UP)
_DOWN_EVEN, _DOWN_ODD = (tuple(np.float32(tap) for tap in taps) for taps in DOWN)
_SINC = Chebyshev.interpolate(lambda square: np.sinc(np.sqrt(square)), 4, domain=[0.0, 0.25])
_C0, _C1, _C2, _C3, _C4 = (np.float32(np.pi * c) for c in _SINC.convert(kind=Polynomial).coef)
"""sin(πx) = x · (C0 + C1 x² + …) within 4e-9 up to a quarter turn."""


def snake_on_cpu(x: Tensor, frequency: Tensor, amplitude: Tensor) -> Tensor:
    """`snake_twice_as_fine` for float32 (batch, channels, length), on as many threads as PyTorch uses."""
    rows = x.contiguous().flatten(0, 1)
    out = torch.empty_like(rows)
    turns, amplitudes = (frequency / torch.pi).repeat(len(x)), amplitude.repeat(len(x))
    arrays = [tensor.numpy() for tensor in (rows, turns, amplitudes, out)]
    share_rows(len(rows), partial(_snake, *arrays))
    return out.view(x.shape)


@njit(fastmath={"contract"})
def _six(taps, signal, at):
    return (
        taps[0] * signal[at]
        + taps[1] * signal[at + _1]
        + taps[2] * signal[at + _2]
        + taps[3] * signal[at + _3]
        + taps[4] * signal[at + _4]
        + taps[5] * signal[at + _5]
    )


@njit(fastmath={"contract"})
def _bend(value, turns, amplitude):
    part = value * turns
    part -= np.rint(part)
    square = part * part
    sine = part * (_C0 + square * (_C1 + square * (_C2 + square * (_C3 + square * _C4))))
    return value + amplitude * sine * sine


@njit("void(f4[:,::1], f4[::1], f4[::1], f4[:,::1], i8, i8)", fastmath={"contract"}, nogil=True)
def _snake(rows, turns, amplitudes, out, first, last):
    """Rows `first` to `last` of `out`, block by block; `turns` are half turns of the sine a unit of the signal."""
    length = rows.shape[1]
    near = np.empty(_BLOCK + 2 * _MARGIN, np.float32)
    even = np.empty(_BLOCK + 2 * REACH, np.float32)
    odd = np.empty(_BLOCK + 2 * REACH, np.float32)
    for row in range(first, last):
        turn, amplitude = turns[row], amplitudes[row]
        for start in range(0, length, _BLOCK):
            block, done = rows[row, start : start + _BLOCK], out[row, start : start + _BLOCK]
            size = len(block)
            for at in range(_MARGIN):
                near[at] = rows[row, max(start + at - _MARGIN, 0)]
                near[size + _MARGIN + at] = rows[row, min(start + size + at, length - 1)]
            for at in range(np.uint64(size)):
                near[at + _6] = block[at]
            for at in range(np.uint64(size + 2 * REACH)):
                even[at] = _bend(_six(_UP_EVEN, near, at), turn, amplitude)
                odd[at] = _bend(_six(_UP_ODD, near, at + _1), turn, amplitude)
            # Before the first sample and after the last, the finer signal repeats its own outermost ones.
            for at in range(REACH - start):
                even[at] = odd[at] = even[REACH]
            final = length - 1 - start + REACH
            for at in range(final + 1, size + 2 * REACH):
                even[at] = odd[at] = odd[final]
            for at in range(np.uint64(size)):
                done[at] = _six(_DOWN_EVEN, even, at + _1) + _six(_DOWN_ODD, odd, at)
