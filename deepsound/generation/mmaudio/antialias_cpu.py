"""`antialias` compiled for the CPU at hand: a signal is read once, and what lies between stays in nearest cache.

The same steps as whole-tensor operations take seven times as long, most of it on the way to memory and back.
Importing this compiles for a second or two. Nothing is kept on disk, where it would have to be trusted.
"""
# Numba has no annotations, and what it compiles reads better without.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportMissingParameterType=false, reportMissingTypeStubs=false
# pyright: reportUntypedFunctionDecorator=false

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numba import njit
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor

from deepsound.generation.mmaudio.low_pass import DOWN, REACH, UP

_CHANNELS, _BLOCK = 192, 32
"""Channels and samples whose finer signal stays in the nearest cache: all widths of a BigVGAN go into 48 or 24."""
_MARGIN = 2 * REACH
# Unsigned, or every index would be asked whether it counts from the end, which no vector instruction does.
_0, _1, _2, _3, _4, _5 = (np.uint64(shift) for shift in range(6))
_UP_EVEN, _UP_ODD = (tuple(np.float32(tap) for tap in taps) for taps in UP)
_DOWN_EVEN, _DOWN_ODD = (tuple(np.float32(tap) for tap in taps) for taps in DOWN)
_SINC = Chebyshev.interpolate(lambda square: np.sinc(np.sqrt(square)), 4, domain=[0.0, 0.25])
_C0, _C1, _C2, _C3, _C4 = (np.float32(np.pi * c) for c in _SINC.convert(kind=Polynomial).coef)
"""sin(πx) = x · (C0 + C1 x² + …) within 4e-9 up to a quarter turn."""

_threads = ThreadPoolExecutor(thread_name_prefix="snake")


def snake_on_cpu(x: Tensor, frequency: Tensor, amplitude: Tensor) -> Tensor:
    """`snake_twice_as_fine` for float32 (batch, channels, length), on as many threads as PyTorch uses.

    Channels lie next to each other in what it returns, and had best do so in x.
    """
    signal = x.transpose(1, 2).contiguous()
    out = torch.empty_like(signal)
    arrays = signal.numpy(), (frequency / torch.pi).numpy(), amplitude.numpy(), out.numpy()
    shares = min(torch.get_num_threads(), x.shape[-1])
    borders = [share * x.shape[-1] // shares for share in range(shares + 1)]
    if shares == 1:
        _snake(*arrays, *borders)
    else:
        list(_threads.map(partial(_snake, *arrays), borders, borders[1:]))
    return out.transpose(1, 2)


@njit(fastmath={"contract"})
def _six(taps, signal, at, width):
    return (
        taps[0] * signal[at]
        + taps[1] * signal[at + width]
        + taps[2] * signal[at + _2 * width]
        + taps[3] * signal[at + _3 * width]
        + taps[4] * signal[at + _4 * width]
        + taps[5] * signal[at + _5 * width]
    )


@njit(fastmath={"contract"})
def _bend(value, turns, amplitude):
    part = value * turns
    part -= np.rint(part)
    square = part * part
    sine = part * (_C0 + square * (_C1 + square * (_C2 + square * (_C3 + square * _C4))))
    return value + amplitude * sine * sine


@njit
def _copy(source, target):
    for at in range(np.uint64(len(source))):
        target[at] = source[at]


@njit("void(f4[:,:,::1], f4[::1], f4[::1], f4[:,:,::1], i8, i8)", fastmath={"contract"}, nogil=True)
def _snake(signal, turns, amplitudes, out, first, last):
    """Samples first to last of `out` (batch, length, channels), some channels and samples at a time.

    These lie in one row each of what is between, where the next sample of a channel is `width` further.
    """
    batch, length, channels = signal.shape
    near = np.empty((_BLOCK + 2 * _MARGIN) * _CHANNELS, np.float32)
    even, odd, turn, amplitude = np.empty((4, (_BLOCK + 2 * REACH) * _CHANNELS), np.float32)
    for low in range(0, channels, _CHANNELS):
        width = min(_CHANNELS, channels - low)
        stride = np.uint64(width)
        for at in range(len(turn)):
            turn[at] = turns[low + at % width]
            amplitude[at] = amplitudes[low + at % width]
        for item in range(batch):
            for start in range(first, last, _BLOCK):
                size = min(_BLOCK, last - start)
                for step in range(size + 2 * _MARGIN):
                    time = min(max(start - _MARGIN + step, 0), length - 1)
                    _copy(signal[item, time, low : low + width], near[step * width :])
                for at in range(np.uint64((size + 2 * REACH) * width)):
                    even[at] = _bend(_six(_UP_EVEN, near, at, stride), turn[at], amplitude[at])
                    odd[at] = _bend(_six(_UP_ODD, near, at + stride, stride), turn[at], amplitude[at])
                # Before the first sample and after the last, the finer signal repeats its own outermost ones.
                begin, end = REACH - start, length - 1 - start + REACH
                for step in range(begin):
                    _copy(even[begin * width : (begin + 1) * width], even[step * width :])
                    _copy(even[begin * width : (begin + 1) * width], odd[step * width :])
                for step in range(end + 1, size + 2 * REACH):
                    _copy(odd[end * width : (end + 1) * width], even[step * width :])
                    _copy(odd[end * width : (end + 1) * width], odd[step * width :])
                for at in range(np.uint64(size * width)):
                    near[at] = _six(_DOWN_EVEN, even, at + stride, stride) + _six(_DOWN_ODD, odd, at, stride)
                for step in range(size):
                    _copy(near[step * width : (step + 1) * width], out[item, start + step, low:])
