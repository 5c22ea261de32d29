"""Videos longer than the networks were trained on: overlapping windows, blended while they are sampled.

Every step moves one long run of latents along the weighted mean of the windows' flows (MultiDiffusion, Bar-Tal
et al. 2023, section 4), so neighbours agree before there is any sound, and there is no seam to hear.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from deepsound.generation.mmaudio.sequence_config import (
    SYNC_RATE,
    SYNC_STRIDE,
    Lengths,
    MelFormat,
    lengths_for,
)

WINDOW_SECONDS = 8.0
"""What the networks were trained on."""
LONGEST_SECONDS = 10.0
"""Up to here one window of the video's own length does, as the reference has it."""
SHORTEST_SECONDS = 4.0
"""A part between two cuts that is shorter goes with its neighbour: half of what the networks were trained on."""
_STRIDE_SECONDS = SYNC_STRIDE / SYNC_RATE
_STRIDES_BETWEEN = 20
"""Synchformer strides from one window to the next: 6.4 s, so that windows share 1.6 s."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Part:
    """A span of the video, in seconds, whose sound has nothing to do with the sound beside it."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class LatentWindow:
    """A span of latents, and the moment its picture starts: a multiple of Synchformer's stride.

    `heard`: the latents of `part`, from the first to one past the last. The window may begin or end up to a stride
    beyond its part; what it makes there is not used.
    """

    start: int
    segment: int
    seconds: float
    lengths: Lengths
    part: Part
    heard: tuple[int, int]

    @property
    def stop(self) -> int:
        """One past its last latent."""
        return self.start + self.lengths.latent


def plan_windows(seconds: float, audio: MelFormat, cuts: Sequence[float] = ()) -> tuple[LatentWindow, ...]:
    """Windows over a video of `seconds`, in order: one if it is short, otherwise 8 s each, the last to its end.

    No window is heard over one of `cuts` (seconds, ascending) that leaves 4 s on either side.
    """
    parts = _parts(seconds, cuts)
    return tuple(window for part in parts for window in _windows_of(part, audio, last=part is parts[-1]))


def _parts(seconds: float, cuts: Sequence[float]) -> list[Part]:
    bounds = [0.0]
    for cut in cuts:
        if min(cut - bounds[-1], seconds - cut) >= SHORTEST_SECONDS:
            bounds.append(cut)
    return [Part(start, end) for start, end in pairwise([*bounds, seconds])]


def _windows_of(part: Part, audio: MelFormat, *, last: bool) -> Iterator[LatentWindow]:
    rate = audio.sample_rate / audio.hop / 2
    first = math.floor(part.start / _STRIDE_SECONDS + _ROUNDING)
    seconds = part.end - first * _STRIDE_SECONDS
    if seconds <= LONGEST_SECONDS:
        segments, lengths = [first], lengths_for(seconds, audio)
    else:
        lengths = lengths_for(WINDOW_SECONDS, audio)
        final = first + math.ceil((seconds - WINDOW_SECONDS) / _STRIDE_SECONDS)
        segments = [*range(first, final, _STRIDES_BETWEEN), final]
    starts = [_nearest(segment * _STRIDE_SECONDS * rate) for segment in segments]
    end = starts[-1] + lengths.latent if last else _nearest(part.end * rate)
    heard = (_nearest(part.start * rate), end)
    for segment, start in zip(segments, starts, strict=True):
        yield LatentWindow(start, segment, segment * _STRIDE_SECONDS, lengths, part, heard)


def _nearest(latent: float) -> int:
    """The nearest whole number, the lower one of two: a window's latents, rounded up, always reach it."""
    return math.ceil(latent - 0.5)


def blend(windows: Sequence[LatentWindow], values: Iterable[Tensor], *, scale: int = 1) -> Tensor:
    """The windows' values (batch, length, channels) as one run, weighted by distance to the window's ends.

    `scale`: how many values a latent has.
    """
    total: Tensor | None = None
    weights = torch.zeros(0)
    for window, value in zip(windows, values, strict=True):
        if total is None:
            total = value.new_zeros((value.shape[0], windows[-1].stop * scale, value.shape[2]))
            weights = value.new_zeros((windows[-1].stop * scale, 1))
        ramp = _ramp(value.shape[1], value)
        first, stop = (max(window.start, window.heard[0]) * scale, min(window.stop, window.heard[1]) * scale)
        inside = slice(first - window.start * scale, stop - window.start * scale)
        total[:, first:stop] += (value * ramp)[:, inside]
        weights[first:stop] += ramp[inside]
    if total is None:
        raise ValueError("no windows to blend")
    return total.div_(weights)


def _ramp(length: int, like: Tensor) -> Tensor:
    """Weights (length, 1) that rise from the ends to the middle."""
    steps = torch.arange(length, device=like.device, dtype=like.dtype)
    return (torch.minimum(steps, length - 1 - steps) + 1).unsqueeze(1)
