"""Latents to mel spectrograms and back: a one-dimensional autoencoder with magnitude-preserving layers.

The layers are those of EDM2 (Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion
Models", section 2.3 and appendix B.2) along time alone. Sequences are (batch, channels, length) here.
"""
# Torch's own annotations leave these partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor, nn

from deepsound.models.checkpoints import load_strict, read_state, without_originals

_EPS = 1e-4
_SILU_GAIN = 0.596
_RESIDUAL_SHARE = 0.3
_CLIP = 256.0
_LEVELS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class VAEConfig:
    """Mel bands, width of the outermost level, channels of a latent."""

    mel_bands: int
    width: int
    latent_dim: int


VAE_16K = VAEConfig(mel_bands=80, width=384, latent_dim=20)
VAE_44K = VAEConfig(mel_bands=128, width=512, latent_dim=40)


class VAEResidualBlock(nn.Module):
    """Two convolutions added to the unit-magnitude input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, 3)
        self.conv2 = _conv(outputs, outputs, 3)
        if inputs != outputs:
            self.nin_shortcut = _conv(inputs, outputs, 1)
        self.same = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, length) to (batch, outputs, length)."""
        x = unit_magnitude(x, dim=1)
        inner = self.conv2(_silu(self.conv1(_silu(x))))
        return _mixed(x if self.same else self.nin_shortcut(x), inner)


class VAEAttentionBlock(nn.Module):
    """Single-head attention over time with queries, keys and values of unit magnitude."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = _conv(channels, 3 * channels, 1)
        self.proj_out = _conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, length), the same. Query, key and value alternate within the channels."""
        parts = unit_magnitude(self.qkv(x).unflatten(1, (-1, 3)), dim=1)
        q, k, v = parts.transpose(1, -1).unbind(2)
        return _mixed(x, self.proj_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2)))


class Downsample(nn.Module):
    """Half the length, by averaging between two pointwise convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels, 1)
        self.conv2 = _conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, length) to (batch, channels, length // 2)."""
        return self.conv2(F.avg_pool1d(self.conv1(x), 2))


class Upsample(nn.Module):
    """Twice the length, by repetition and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, length) to (batch, channels, 2 · length)."""
        return self.conv(x.repeat_interleave(2, dim=-1))


class _Middle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = VAEResidualBlock(channels, channels)
        self.attn_1 = VAEAttentionBlock(channels)
        self.block_2 = VAEResidualBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x))).clamp(-_CLIP, _CLIP)


class _Level(nn.Module):
    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            VAEResidualBlock(inputs if index == 0 else outputs, outputs) for index in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x).clamp(-_CLIP, _CLIP)
        return x


class _HalvingLevel(_Level):
    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__(inputs, outputs, blocks)
        self.downsample = Downsample(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(super().forward(x))


class _DoublingLevel(_Level):
    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__(inputs, outputs, blocks)
        self.upsample = Upsample(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(super().forward(x))


class VAEEncoder(nn.Module):
    """Normalised mel to mean and log-variance of the latents at half the frame rate."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        first, second, third = (config.width * level for level in _LEVELS)
        self.conv_in = _conv(config.mel_bands, first, 3)
        self.down = nn.ModuleList(
            [_HalvingLevel(first, first, 2), _Level(first, second, 2), _Level(second, third, 2)]
        )
        self.mid = _Middle(third)
        self.conv_out = _conv(third, 2 * config.latent_dim, 3)
        self.learnable_gain = nn.Parameter(torch.zeros(()))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, mel_bands, frames) to mean and log-variance, (batch, latent_dim, frames // 2) each."""
        x = self.conv_in(mel)
        for level in self.down:
            x = level(x)
        x = self.conv_out(_silu(self.mid(x))) * (1 + self.learnable_gain)
        mean, log_variance = x.chunk(2, dim=1)
        return mean, log_variance


class VAEDecoder(nn.Module):
    """Latents to normalised mel at twice their rate."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        first, second, third = (config.width * level for level in _LEVELS)
        self.conv_in = _conv(config.latent_dim, third, 3)
        self.mid = _Middle(third)
        self.up = nn.ModuleList(
            [_Level(second, first, 3), _DoublingLevel(third, second, 3), _Level(third, third, 3)]
        )
        self.conv_out = _conv(first, config.mel_bands, 3)
        self.learnable_gain = nn.Parameter(torch.zeros(()))

    def forward(self, latents: Tensor) -> Tensor:
        """(batch, latent_dim, latents) to (batch, mel_bands, 2 · latents)."""
        x = self.mid(self.conv_in(latents))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(_silu(x)) * (1 + self.learnable_gain)


class VAE(nn.Module):
    """Decoder, encoder where it is wanted, and the mean and deviation of the mels it was trained on."""

    def __init__(self, config: VAEConfig, *, with_encoder: bool) -> None:
        super().__init__()
        if with_encoder:
            self.encoder = VAEEncoder(config)
        self.decoder = VAEDecoder(config)
        self.data_mean = nn.Parameter(torch.zeros(1, config.mel_bands, 1))
        self.data_std = nn.Parameter(torch.ones(1, config.mel_bands, 1))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (batch, latent_dim, n) to log mel (batch, mel_bands, 2n)."""
        return self.decoder(latents) * self.data_std + self.data_mean

    def encode(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Log mel (batch, mel_bands, 2n) to mean and log-variance of its latents, (batch, latent_dim, n)."""
        return self.encoder((mel - self.data_mean) / self.data_std)


def load_vae_decoder(path: Path, config: VAEConfig) -> VAE:
    """The decoding half of `v1-16.pth` or `v1-44.pth`, in float32; the encoder is left unread.

    Raises DeepSoundError.
    """
    state = {name: value for name, value in read_state(path).items() if not name.startswith("encoder.")}
    with torch.device("meta"):
        vae = VAE(config, with_encoder=False)
    network = f"the VAE's decoder for {config.mel_bands} mel bands"
    load_strict(vae, without_originals(state, normalised_weights(state)), network=network, where=path)
    return vae.eval()


def normalised_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published weights as they are used: each output channel of unit magnitude, over √fan-in (EDM2 eq. 66).

    What is no weight stays as it is.
    """
    return {
        name: _normalised(value)
        if name.endswith(".weight") and value.ndim > 1 and value.is_floating_point()
        else value
        for name, value in state.items()
    }


def unit_magnitude(x: Tensor, dim: int) -> Tensor:
    """`x` over its root mean square along `dim`, which is taken in float32."""
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=torch.float32)
    return x / (_EPS + norm / math.sqrt(x.shape[dim])).to(x.dtype)


def _normalised(weight: Tensor) -> Tensor:
    rows = weight.flatten(1)
    return (unit_magnitude(rows, dim=1) / math.sqrt(rows.shape[1])).view_as(weight)


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


def _silu(x: Tensor) -> Tensor:
    return F.silu(x) / _SILU_GAIN


def _mixed(x: Tensor, inner: Tensor) -> Tensor:
    """Magnitude-preserving sum (EDM2 eq. 88)."""
    return torch.lerp(x, inner, _RESIDUAL_SHARE) / math.hypot(1 - _RESIDUAL_SHARE, _RESIDUAL_SHARE)
