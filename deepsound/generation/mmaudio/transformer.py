"""Transformer blocks: joint ones over sound, picture and text, and fused ones over sound alone."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor, nn

from deepsound.generation.mmaudio.attention import attend
from deepsound.generation.mmaudio.layers import Conv1d, GatedMLP, Rotation, modulate, projection
from deepsound.models.onednn_linear import Linear


@dataclass(frozen=True, slots=True)
class Streams:
    """The three sequences of a joint block: (batch, length, hidden) each."""

    latent: Tensor
    clip: Tensor
    text: Tensor


class SelfAttention(nn.Module):
    """Projection to queries, keys and values with per-head RMS norm of queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.q_norm = nn.RMSNorm(width // heads)
        self.k_norm = nn.RMSNorm(width // heads)

    def forward(self, x: Tensor, rotate: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, length, width) to queries, keys and values, (batch, heads, length, head_dim) each.

        The projection's channels are ordered heads, head_dim, then query/key/value innermost.
        """
        parts = self.qkv(x).unflatten(-1, (self.heads, -1, 3)).transpose(1, 2)
        q, k, v = parts.unbind(-1)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotate is not None:
            q, k = rotate(q), rotate(k)
        return q, k, v.contiguous()


class AdaptiveNormBlock(nn.Module):
    """One sequence's share of a transformer block with adaptive layer norm.

    Its two halves stand on either side of attention, which a joint block runs over several sequences at once.
    With `keys_only` the second half is absent: the sequence gives the others keys and values and ends there.
    """

    def __init__(self, width: int, heads: int, kernel: int, *, keys_only: bool = False) -> None:
        super().__init__()
        self.width = width
        self.attn = SelfAttention(width, heads)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear(width, (2 if keys_only else 6) * width))
        if not keys_only:
            self.linear1 = projection(width, width, kernel)
            self.ffn = GatedMLP(width, kernel)

    def before(
        self, x: Tensor, condition: Tensor, rotate: Rotation | None
    ) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
        """Queries, keys and values of (batch, length, width), and what `after` needs of the condition."""
        shift, scale, *rest = self.adaLN_modulation(condition).split(self.width, dim=-1)
        return self.attn(modulate(self._norm(x), shift, scale), rotate), tuple(rest)

    def after(self, x: Tensor, attended: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
        """Add what attention found, then the feed-forward part."""
        gate, ff_shift, ff_scale, ff_gate = modulation
        x = torch.addcmul(x, self.linear1(attended), gate)
        return torch.addcmul(x, self.ffn(modulate(self._norm(x), ff_shift, ff_scale)), ff_gate)

    def forward(self, x: Tensor, condition: Tensor, rotate: Rotation | None) -> Tensor:
        """The whole block over one sequence: (batch, length, width), condition of length 1 or the same."""
        (q, k, v), modulation = self.before(x, condition, rotate)
        return self.after(x, _attended(q, k, v), modulation)

    def _norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,))


class JointBlock(nn.Module):
    """Sound, picture and text attend to one another. In the `last` one only the sound goes on."""

    def __init__(self, width: int, heads: int, *, last: bool) -> None:
        super().__init__()
        self.last = last
        self.latent_block = AdaptiveNormBlock(width, heads, kernel=3)
        self.clip_block = AdaptiveNormBlock(width, heads, kernel=3, keys_only=last)
        self.text_block = AdaptiveNormBlock(width, heads, kernel=1, keys_only=last)

    def forward(
        self, streams: Streams, whole: Tensor, local: Tensor, latent_turn: Rotation, clip_turn: Rotation
    ) -> Streams:
        """`whole` (batch, 1, width) conditions picture and text; `local`, one a latent, the sound."""
        latent, latent_rest = self.latent_block.before(streams.latent, local, latent_turn)
        clip, clip_rest = self.clip_block.before(streams.clip, whole, clip_turn)
        text, text_rest = self.text_block.before(streams.text, whole, None)
        q, k, v = (torch.cat(parts, dim=2) for parts in zip(latent, clip, text, strict=True))
        sizes = [streams.latent.shape[1], streams.clip.shape[1], streams.text.shape[1]]
        if self.last:
            found = _attended(q[:, :, : sizes[0]], k, v)
            return Streams(self.latent_block.after(streams.latent, found, latent_rest), streams.clip, streams.text)
        heard, seen, read = _attended(q, k, v).split(sizes, dim=1)
        return Streams(
            self.latent_block.after(streams.latent, heard, latent_rest),
            self.clip_block.after(streams.clip, seen, clip_rest),
            self.text_block.after(streams.text, read, text_rest),
        )


class FinalLayer(nn.Module):
    """Modulated norm and a convolution from hidden channels to the flow of the latents."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.width = width
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear(width, 2 * width))
        self.conv = Conv1d(width, latent_dim, 7)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, length, width) to (batch, length, latent_dim)."""
        shift, scale = self.adaLN_modulation(condition).split(self.width, dim=-1)
        return self.conv(modulate(F.layer_norm(x, (self.width,)), shift, scale))


def _attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention over (batch, heads, length, head_dim), heads merged: (batch, length, width)."""
    return attend(q, k, v).transpose(1, 2).flatten(2)
