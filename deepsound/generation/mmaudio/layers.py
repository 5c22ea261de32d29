"""Building blocks of the flow network. Sequences are (batch, length, channels) throughout."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor, nn

from deepsound.models.onednn_linear import Linear

_MULTIPLE = 256
_ROPE_THETA = 10_000.0


class Conv1d(nn.Conv1d):
    """Convolution along the length of (batch, length, channels), padded to keep the length."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """(batch, length, inputs) to (batch, length, outputs)."""
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class GatedMLP(nn.Module):
    """SwiGLU feed-forward, w2(silu(w1 x) · w3 x) (Shazeer 2020), as linear layers or convolutions."""

    def __init__(self, width: int, kernel: int = 1) -> None:
        super().__init__()
        inner = -(-(2 * 4 * width // 3) // _MULTIPLE) * _MULTIPLE
        self.w1 = projection(width, inner, kernel, bias=False)
        self.w2 = projection(inner, width, kernel, bias=False)
        self.w3 = projection(width, inner, kernel, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) to (…, width)."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


def projection(inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> nn.Module:
    """A linear layer for kernel 1, otherwise a convolution along the length."""
    if kernel == 1:
        return Linear(inputs, outputs, bias=bias)
    return Conv1d(inputs, outputs, kernel, bias=bias)


class TimestepEmbedding(nn.Module):
    """Sinusoids of the flow time, then two linear layers.

    Both stay in float32 whatever the rest computes in: the second release reaches a frequency of 10,000, where
    bfloat16 would keep no digit of the phase.
    """

    def __init__(self, hidden: int, width: int, max_period: float) -> None:
        super().__init__()
        self.width = width
        self.max_period = max_period
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, t: Tensor) -> Tensor:
        """Times (batch,) to (batch, hidden), in float32."""
        steps = torch.arange(0, self.width, 2, dtype=torch.float32, device=t.device)
        frequencies = (10_000.0 / self.max_period) * (1.0 / 10_000.0 ** (steps / self.width))
        phase = t.float()[:, None] * frequencies
        waves = torch.cat([phase.cos(), phase.sin()], dim=-1)
        return self.mlp(waves)


@dataclass(frozen=True, slots=True)
class Rotation:
    """Cosines and sines of rotary position embedding, (length, head_dim / 2), float32 (Su et al. 2021)."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate adjacent channel pairs of (batch, heads, length, head_dim); the type of `x` is kept."""
        even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack([even * self.cos - odd * self.sin, even * self.sin + odd * self.cos], dim=-1)
        return turned.flatten(-2).to(x.dtype)


def rotation(length: int, head_dim: int, device: torch.device, *, stretch: float = 1.0) -> Rotation:
    """Rotary tables; `stretch` is how many positions of the other sequence one of this one spans."""
    steps = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device)
    frequencies = stretch * (1.0 / _ROPE_THETA ** (steps / head_dim))
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device=device), frequencies)
    return Rotation(angles.cos(), angles.sin())


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive layer norm's affine part (Peebles & Xie 2023, section 3.2)."""
    return torch.addcmul(shift, x, 1 + scale)
