"""Videos longer than the networks were trained on: overlapping windows, blended while they are sampled.

Every step moves one long run of latents along the weighted mean of the windows' flows (MultiDiffusion, Bar-Tal
et al. 2023, section 4), so neighbours agree before there is any sound, and there is no seam to hear.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from deepsound.generation.mmaudio.config import (
    SYNC_RATE,
    SYNC_STRIDE,
    AudioFormat,
    Lengths,
    lengths_for,
)
from deepsound.generation.mmaudio.sampler import STEPS

WINDOW_SECONDS = 8.0
"""What the networks were trained on."""
LONGEST_SECONDS = 10.0
"""Up to here one window of the video's own length does, as the reference has it."""
_STRIDE_SECONDS = SYNC_STRIDE / SYNC_RATE
_STRIDES_BETWEEN = 20
"""Synchformer strides from one window to the next: 6.4 s, so that windows share 1.6 s."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of latents, and the moment its picture starts: a multiple of Synchformer's stride."""

    start: int
    segment: int
    seconds: float
    lengths: Lengths

    @property
    def stop(self) -> int:
        """One past its last latent."""
        return self.start + self.lengths.latent


def plan_windows(seconds: float, audio: AudioFormat) -> tuple[Window, ...]:
    """Windows over a video of `seconds`: one if it is short, otherwise 8 s each, the last reaching its end."""
    if seconds <= LONGEST_SECONDS:
        return (Window(0, 0, 0.0, lengths_for(seconds, audio)),)
    lengths = lengths_for(WINDOW_SECONDS, audio)
    last = -int(-(seconds - WINDOW_SECONDS) // _STRIDE_SECONDS)
    segments = [*range(0, last, _STRIDES_BETWEEN), last]
    rate = audio.sample_rate / audio.hop / 2
    return tuple(
        Window(round(segment * _STRIDE_SECONDS * rate), segment, segment * _STRIDE_SECONDS, lengths)
        for segment in segments
    )


def blend(windows: Sequence[Window], parts: Iterable[Tensor], *, scale: int = 1) -> Tensor:
    """The windows' values (batch, length, channels) as one run, weighted by distance to the window's ends.

    `scale`: how many values a latent has.
    """
    total: Tensor | None = None
    weights = torch.zeros(0)
    for window, part in zip(windows, parts, strict=True):
        if total is None:
            total = part.new_zeros((part.shape[0], windows[-1].stop * scale, part.shape[2]))
            weights = part.new_zeros((windows[-1].stop * scale, 1))
        ramp = _ramp(part.shape[1], part)
        total[:, window.start * scale : window.stop * scale] += part * ramp
        weights[window.start * scale : window.stop * scale] += ramp
    if total is None:
        raise ValueError("no windows to blend")
    return total / weights


def sample_windows(
    noise: Tensor,
    windows: Sequence[Window],
    flows: Callable[[Tensor, Tensor], Iterable[Tensor]],
    *,
    steps: int = STEPS,
) -> Tensor:
    """Move `noise` (1, latents, latent_dim) from t = 0 to 1 along the windows' blended flows, in float32.

    `flows` takes latents and a time, and gives the guided flow of each window in turn.
    """
    x = noise.float()
    for now, following in pairwise(torch.linspace(0, 1, steps + 1, device=x.device)):
        x = x + (following - now) * blend(windows, flows(x, now))
    return x


def _ramp(length: int, like: Tensor) -> Tensor:
    """Weights (length, 1) that rise from the ends to the middle."""
    steps = torch.arange(length, device=like.device, dtype=like.dtype)
    return (torch.minimum(steps, length - 1 - steps) + 1).unsqueeze(1)
