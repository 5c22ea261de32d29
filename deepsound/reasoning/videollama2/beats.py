"""BEATs, the audio encoder (Chen et al., arXiv 2212.09058): a spectrogram cut in patches, read by a transformer.

Parameter names are those of the released files. The transformer is WavLM's: a convolution tells positions, and
a bucketed relative position bias, owned by the first layer and shared by all, is gated by each layer's queries.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# Mean and deviation of AudioSet's filter bank energies; two deviations become one.
_FBANK_MEAN = 15.41663
_FBANK_STD = 6.55582

_GATE_PARTS = 4
_NORM_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class BeatsConfig:
    """Sizes; the defaults are the released model's.

    `position_width` and `position_groups` are those of the convolution over time; relative distances fall in
    `buckets`, logarithmic up to `max_distance`. `classes` are those of the tagging head, which is kept for
    its names alone.
    """

    embed: int = 512
    layers: int = 12
    dim: int = 768
    wide: int = 3072
    heads: int = 12
    patch: int = 16
    position_width: int = 128
    position_groups: int = 16
    buckets: int = 320
    max_distance: int = 800
    classes: int = 527


class PositionConvolution(nn.Module):
    """Positions from a grouped convolution over time; weight norm runs over all but its taps."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width = config.position_width
        shape = (config.dim, config.dim // config.position_groups, width)
        self.groups = config.position_groups
        self.bias = nn.Parameter(torch.zeros(config.dim))
        self.weight_g = nn.Parameter(torch.ones(1, 1, width))
        self.weight_v = nn.Parameter(torch.randn(shape) / width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, dim) to the same shape."""
        width = self.weight_g.shape[-1]
        norm = torch.rsqrt(self.weight_v.square().sum((0, 1), keepdim=True) + _NORM_EPS)
        weight = self.weight_g * self.weight_v * norm
        y = functional.conv1d(x.transpose(1, 2), weight, self.bias, padding=width // 2, groups=self.groups)
        # An even kernel gives one position too many; the last one is dropped.
        return functional.gelu(y[..., : x.shape[1]]).transpose(1, 2)


class GatedAttention(nn.Module):
    """Self-attention whose position bias is scaled, head by head, by a gate computed from the queries."""

    def __init__(self, config: BeatsConfig, relative: nn.Embedding) -> None:
        super().__init__()
        self.heads = config.heads
        self.relative_attention_bias = relative
        self.q_proj = nn.Linear(config.dim, config.dim)
        self.k_proj = nn.Linear(config.dim, config.dim)
        self.v_proj = nn.Linear(config.dim, config.dim)
        self.out_proj = nn.Linear(config.dim, config.dim)
        self.grep_linear = nn.Linear(config.dim // config.heads, 2 * _GATE_PARTS)
        self.grep_a = nn.Parameter(torch.ones(1, config.heads, 1, 1))

    def forward(self, x: Tensor, position_bias: Tensor) -> Tensor:
        """(batch, length, dim) and a bias (heads, length, length) to (batch, length, dim)."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=self._gate(q) * position_bias)
        return self.out_proj(y.transpose(1, 2).flatten(2))

    def _gate(self, q: Tensor) -> Tensor:
        """Queries (batch, heads, length, head_dim) to gates (batch, heads, length, 1)."""
        parts = self.grep_linear(q).unflatten(-1, (2, _GATE_PARTS)).sum(-1).sigmoid()
        update, reset = parts.chunk(2, dim=-1)
        return update * (reset * self.grep_a - 1.0) + 2.0


class Layer(nn.Module):
    """Attention and feed-forward, normed after the sum; DeepNorm weighs the input (arXiv 2203.00555)."""

    def __init__(self, config: BeatsConfig, relative: nn.Embedding) -> None:
        super().__init__()
        self.residual = (2 * config.layers) ** 0.25
        self.self_attn = GatedAttention(config, relative)
        self.self_attn_layer_norm = nn.LayerNorm(config.dim)
        self.fc1 = nn.Linear(config.dim, config.wide)
        self.fc2 = nn.Linear(config.wide, config.dim)
        self.final_layer_norm = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor, position_bias: Tensor) -> Tensor:
        """(batch, length, dim) to the same shape."""
        x = self.self_attn_layer_norm(x * self.residual + self.self_attn(x, position_bias))
        return self.final_layer_norm(x * self.residual + self.fc2(functional.gelu(self.fc1(x))))


class BeatsEncoder(nn.Module):
    """The transformer."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.max_distance = config.max_distance
        relative = nn.Embedding(config.buckets, config.heads)
        self.pos_conv = nn.Sequential(PositionConvolution(config))
        self.layers = nn.ModuleList(Layer(config, relative) for _ in range(config.layers))
        self.layer_norm = nn.LayerNorm(config.dim)
        self._relative = (relative,)  # in a tuple, so that it is registered under the layers' names alone

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, dim) to the same shape."""
        x = self.layer_norm(x + self.pos_conv(x))
        position_bias = self._position_bias(x.shape[1], x.device)
        for layer in self.layers:
            x = layer(x, position_bias)
        return x

    def _position_bias(self, length: int, device: torch.device) -> Tensor:
        table = self._relative[0]
        positions = torch.arange(length, device=device)
        distance = positions[None, :] - positions[:, None]
        buckets = relative_buckets(distance, table.num_embeddings, self.max_distance)
        return table(buckets).permute(2, 0, 1)


def relative_buckets(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Buckets of signed distances key − query: half for either sign, of these half exact, half logarithmic."""
    half = buckets // 2
    exact = half // 2
    size = distance.abs()
    share = torch.log(size.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (share * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(size < exact, size, far) + half * (distance > 0)


class Beats(nn.Module):
    """The audio tower."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        patch = config.patch
        self.patch_embedding = nn.Conv2d(1, config.embed, patch, stride=patch, bias=False)
        self.layer_norm = nn.LayerNorm(config.embed)
        self.post_extract_proj = nn.Linear(config.embed, config.dim)
        self.encoder = BeatsEncoder(config)
        self.predictor = nn.Linear(config.dim, config.classes)

    def forward(self, fbank: Tensor) -> Tensor:
        """Log mel energies (batch, frames, 128) to (batch, frames // 16 × 8, dim): time, then frequency."""
        x = (fbank - _FBANK_MEAN) / (2 * _FBANK_STD)
        x = self.patch_embedding(x.unsqueeze(1)).flatten(2).transpose(1, 2)
        return self.encoder(self.post_extract_proj(self.layer_norm(x)))
