"""The flow network: how the latents move at a given time, seen what is on the picture and in the text."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor, nn

from deepsound.generation.mmaudio.layers import Conv1d, GatedMLP, TimestepEmbedding, rotation
from deepsound.generation.mmaudio.sequence_config import SYNC_STRIDE, FlowConfig
from deepsound.generation.mmaudio.transformer import AdaptiveNormBlock, FinalLayer, JointBlock, Streams
from deepsound.models.checkpoints import load_strict, read_state

# Tables the first release's files hold; they follow from the sizes, and from the length of the window.
_TABLES = frozenset({"latent_rot", "clip_rot", "t_embed.freqs"})

EXACT = ("t_embed.",)
"""How the names begin of what stays in float32 when the rest is put in another type."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Features as the blocks take them, the same for every step of sampling.

    `clip` (batch, frames, hidden), `text` (batch, tokens, hidden), `sync` (batch, latents, hidden): one a
    latent; `clip_mean` and `text_mean` (batch, hidden): what the whole window shows and asks for.
    """

    clip: Tensor
    text: Tensor
    sync: Tensor
    clip_mean: Tensor
    text_mean: Tensor

    def joined(self, *others: "Conditions") -> "Conditions":
        """All of them, one after the other along the batch."""
        together = (self, *others)
        return Conditions(
            torch.cat([each.clip for each in together]),
            torch.cat([each.text for each in together]),
            torch.cat([each.sync for each in together]),
            torch.cat([each.clip_mean for each in together]),
            torch.cat([each.text_mean for each in together]),
        )


class FlowNetwork(nn.Module):
    """MMAudio's multimodal transformer (arXiv 2412.15322, section 3). Any length of window goes.

    Parameter names are those of the published files.
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden
        activation = nn.SiLU if config.second else nn.SELU
        # The first release has no activation between these two layers, so their names differ.
        between = [nn.SiLU()] if config.second else []
        self.audio_input_proj = nn.Sequential(
            Conv1d(config.latent_dim, width, 7), activation(), GatedMLP(width, 7)
        )
        self.clip_input_proj = nn.Sequential(nn.Linear(config.clip_dim, width), *between, GatedMLP(width, 3))
        self.sync_input_proj = nn.Sequential(Conv1d(config.sync_dim, width, 7), activation(), GatedMLP(width, 3))
        self.text_input_proj = nn.Sequential(nn.Linear(config.text_dim, width), *between, GatedMLP(width))
        self.clip_cond_proj = nn.Linear(width, width)
        self.text_cond_proj = nn.Linear(width, width)
        self.global_cond_mlp = GatedMLP(width)
        self.t_embed = TimestepEmbedding(width, *((width, 1.0) if config.second else (256, 10_000.0)))
        joint = config.depth - config.fused
        self.joint_blocks = nn.ModuleList(
            JointBlock(width, config.heads, last=index == joint - 1) for index in range(joint)
        )
        self.fused_blocks = nn.ModuleList(
            AdaptiveNormBlock(width, config.heads, kernel=3) for _ in range(config.fused)
        )
        self.final_layer = FinalLayer(width, config.latent_dim)
        self.sync_pos_emb = nn.Parameter(torch.zeros(1, 1, SYNC_STRIDE, config.sync_dim))
        self.latent_mean = nn.Parameter(torch.zeros(1, 1, config.latent_dim), requires_grad=False)
        self.latent_std = nn.Parameter(torch.ones(1, 1, config.latent_dim), requires_grad=False)
        self.empty_string_feat = nn.Parameter(torch.zeros(config.text_length, config.text_dim))
        self.empty_clip_feat = nn.Parameter(torch.zeros(1, config.clip_dim))
        self.empty_sync_feat = nn.Parameter(torch.zeros(1, config.sync_dim))

    def conditions(self, clip: Tensor, sync: Tensor, text: Tensor, latents: int) -> Conditions:
        """Prepare features for a window of `latents` latents.

        clip (batch, frames, clip_dim); sync (batch, 8 tokens a segment, sync_dim); text (batch, tokens,
        text_dim). Each latent takes the synchronisation token nearest to it.
        """
        placed = sync.unflatten(1, (-1, SYNC_STRIDE)) + self.sync_pos_emb
        moved = self.sync_input_proj(placed.flatten(1, 2)).transpose(1, 2)
        seen, read = self.clip_input_proj(clip), self.text_input_proj(text)
        return Conditions(
            clip=seen,
            text=read,
            sync=F.interpolate(moved, size=latents, mode="nearest-exact").transpose(1, 2),
            clip_mean=self.clip_cond_proj(seen.mean(dim=1)),
            text_mean=self.text_cond_proj(read.mean(dim=1)),
        )

    def empty_conditions(self, frames: int, tokens: int, text: Tensor, latents: int) -> Conditions:
        """What guidance moves away from: nothing seen, and `text` (batch, tokens, text_dim) read."""
        batch = text.shape[0]
        clip = self.empty_clip_feat.expand(batch, frames, -1)
        sync = self.empty_sync_feat.expand(batch, tokens, -1)
        return self.conditions(clip, sync, text, latents)

    def empty_text(self, batch: int) -> Tensor:
        """Features of the empty text, (batch, tokens, text_dim)."""
        return self.empty_string_feat.expand(batch, -1, -1)

    def forward(self, latent: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Flow of `latent` (batch, latents, latent_dim) at times `t` (batch,), float32 in [0, 1]."""
        head_dim = self.config.hidden // self.config.heads
        latents, frames = latent.shape[1], conditions.clip.shape[1]
        latent_turn = rotation(latents, head_dim, latent.device)
        clip_turn = rotation(frames, head_dim, latent.device, stretch=latents / frames)
        whole = self.global_cond_mlp(conditions.clip_mean + conditions.text_mean)
        whole = (self.t_embed(t).to(whole.dtype) + whole).unsqueeze(1)
        local = whole + conditions.sync
        streams = Streams(self.audio_input_proj(latent), conditions.clip, conditions.text)
        for block in self.joint_blocks:
            streams = block(streams, whole, local, latent_turn, clip_turn)
        x = streams.latent
        for block in self.fused_blocks:
            x = block(x, local, latent_turn)
        # The published network was trained with `whole` here, not `local`.
        return self.final_layer(x, whole)


def load_flow(path: Path, config: FlowConfig) -> FlowNetwork:
    """A flow network from its published file, in float32. Raises DeepSoundError."""
    with torch.device("meta"):
        network = FlowNetwork(config)
    state = {name: value for name, value in read_state(path).items() if name not in _TABLES}
    load_strict(network, state, network=f"the flow network of {path.stem}", where=path)
    return network.eval()
