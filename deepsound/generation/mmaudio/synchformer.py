"""Synchformer's visual encoder: what moves on the picture, 25 times a second (Iashin et al., 2024).

A ViT-B/16 over 16-frame segments with attention divided into time and space (TimeSformer), then one
transformer layer that gathers the patches of each pair of frames into a token.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor, nn

from deepsound.generation.mmaudio.attention import attend
from deepsound.models.checkpoints import load_strict, read_state

_PATCH = 16
_GRID = 14
_STEPS = 8
_EPS = 1e-6
_PREFIX = "vfeat_extractor."
_UNUSED = "patch_embed.proj."


@dataclass(frozen=True, slots=True)
class SynchformerConfig:
    """Width, attention heads and depth; the defaults are the published encoder's."""

    width: int = 768
    heads: int = 12
    depth: int = 12


class DividedAttention(nn.Module):
    """Attention within groups of tokens; the class token is seen by all groups and sees every token."""

    def __init__(self, config: SynchformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, *, over_time: bool) -> Tensor:
        """(batch, 1 + steps · patches, width): patches of one step attend to each other, or steps of one."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        grouped_q, grouped_k, grouped_v = (_grouped(part, over_time=over_time) for part in (q, k, v))
        class_k, class_v = (part[:, None, :, :1].expand(-1, grouped_q.shape[1], -1, -1, -1) for part in (k, v))
        keys = torch.cat([class_k, grouped_k], dim=3).flatten(0, 1)
        values = torch.cat([class_v, grouped_v], dim=3).flatten(0, 1)
        found = attend(grouped_q.flatten(0, 1), keys, values)
        # Written to where they belong, so that no further copy puts them in order.
        together = torch.empty_like(x)
        by_head = together.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        by_head[:, :, :1] = attend(q[:, :, :1], k, v)
        _grouped(by_head, over_time=over_time).copy_(found.unflatten(0, (len(x), -1)))
        return self.proj(together)


class _MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, config: SynchformerConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=_EPS)
        self.attn = DividedAttention(config)
        self.timeattn = DividedAttention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=_EPS)
        self.mlp = _MLP(config.width)
        self.norm3 = nn.LayerNorm(config.width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.timeattn(self.norm3(x), over_time=True)
        x = x + self.attn(self.norm1(x), over_time=False)
        return x + self.mlp(self.norm2(x))


class _PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        size = (2, _PATCH, _PATCH)
        self.proj = nn.Conv3d(3, width, size, stride=size)

    def forward(self, segments: Tensor) -> Tensor:
        """(batch, 3, frames, height, width) to (batch, steps · patches, width)."""
        return self.proj(segments).flatten(2).transpose(1, 2)


class _PatchGathering(nn.TransformerEncoderLayer):
    """One pre-norm transformer layer that gathers the patches of a step in a class token."""

    def __init__(self, config: SynchformerConfig) -> None:
        width = config.width
        super().__init__(
            width, config.heads, 4 * width, 0.0, F.gelu, layer_norm_eps=_EPS, batch_first=True, norm_first=True
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))

    def gather(self, patches: Tensor) -> Tensor:
        """(batch, patches, width) to (batch, width). Only the class token asks: nothing reads the others."""
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        normed, inside = self.norm1(tokens), self.self_attn
        width = normed.shape[-1]
        weight, bias = inside.in_proj_weight, inside.in_proj_bias
        q = F.linear(normed[:, 0], weight[:width], bias[:width]).unflatten(-1, (inside.num_heads, 1, -1))
        k, v = F.linear(normed, weight[width:], bias[width:]).unflatten(-1, (2, inside.num_heads, -1)).unbind(2)
        x = tokens[:, 0] + inside.out_proj(attend(q, k.transpose(1, 2), v.transpose(1, 2)).flatten(1))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class Synchformer(nn.Module):
    """The visual encoder alone; parameter names are the published file's, less their common prefix."""

    def __init__(self, config: SynchformerConfig) -> None:
        super().__init__()
        width = config.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + _GRID * _GRID, width))
        self.temp_embed = nn.Parameter(torch.zeros(1, _STEPS, width))
        self.patch_embed_3d = _PatchEmbed(width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.spatial_attn_agg = _PatchGathering(config)

    def forward(self, segments: Tensor) -> Tensor:
        """Segments (batch, 16 frames, 3, 224, 224) in [-1, 1] to tokens (batch, 8, width) in order of time."""
        patches = self.patch_embed_3d(segments.transpose(1, 2)) + self._positions()
        start = (self.cls_token + self.pos_embed[:, :1]).expand(len(patches), -1, -1)
        x = torch.cat([start, patches], dim=1)
        for block in self.blocks:
            x = block(x)
        steps = self.norm(x[:, 1:]).unflatten(1, (_STEPS, -1))
        return self.spatial_attn_agg.gather(steps.flatten(0, 1)).unflatten(0, (-1, _STEPS))

    def _positions(self) -> Tensor:
        places, times = self.pos_embed[:, None, 1:], self.temp_embed[:, :, None]
        return (places + times).flatten(1, 2)


def load_synchformer(path: Path, config: SynchformerConfig) -> Synchformer:
    """The encoder from `synchformer_state_dict.pth`, in float32. Raises DeepSoundError.

    The file's other half, and the two-dimensional patch embedding, are never used: they are left unread.
    """
    state = {
        name.removeprefix(_PREFIX): value
        for name, value in read_state(path).items()
        if name.startswith(_PREFIX) and not name.startswith(_PREFIX + _UNUSED)
    }
    with torch.device("meta"):
        encoder = Synchformer(config)
    load_strict(encoder, state, network="Synchformer's visual encoder", where=path)
    return encoder.eval()


def _grouped(tokens: Tensor, *, over_time: bool) -> Tensor:
    """(batch, heads, 1 + steps · patches, d) without the class token, as (batch, groups, heads, members, d)."""
    placed = tokens[:, :, 1:].unflatten(2, (_STEPS, -1))
    return (placed.transpose(2, 3) if over_time else placed).transpose(1, 2)
