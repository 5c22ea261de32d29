"""The autoencoder's decoder: latents to log mel spectrograms.

The layers are the magnitude-preserving ones of EDM2 (Karras et al. 2024, "Analyzing and Improving the Training
Dynamics of Diffusion Models", section 2.3 and appendix B.2) along time alone. Sequences are (batch, channels,
length). Parameter names are those of the published files. The encoder is in `tests/parity`: generation needs none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor, nn

from deepsound.models.checkpoints import load_strict, read_state, without_originals

LEVEL_WIDTHS = (1, 2, 4)
"""Channels of each level, in multiples of the configured width."""
_EPS = 1e-4
_SILU_GAIN = 0.596
_RESIDUAL_SHARE = 0.3
_CLIP = 256.0


@dataclass(frozen=True, slots=True)
class VAEConfig:
    """Mel bands, width of the outermost level, channels of a latent."""

    mel_bands: int
    width: int
    latent_dim: int


VAE_16K = VAEConfig(mel_bands=80, width=384, latent_dim=20)
VAE_44K = VAEConfig(mel_bands=128, width=512, latent_dim=40)


class VAEResidualBlock(nn.Module):
    """Two convolutions, added to the input scaled to unit magnitude."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = conv_without_bias(inputs, outputs, 3)
        self.conv2 = conv_without_bias(outputs, outputs, 3)
        if inputs != outputs:
            self.nin_shortcut = conv_without_bias(inputs, outputs, 1)
        self.keeps_channels = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, length) to (batch, outputs, length)."""
        x = unit_magnitude(x, dim=1)
        inner = self.conv2(scaled_silu(self.conv1(scaled_silu(x))))
        return _weighted_sum(x if self.keeps_channels else self.nin_shortcut(x), inner)


class VAEAttentionBlock(nn.Module):
    """Single-head attention over time with queries, keys and values of unit magnitude."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = conv_without_bias(channels, 3 * channels, 1)
        self.proj_out = conv_without_bias(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, length) to the same shape. Query, key and value alternate within the channels."""
        parts = unit_magnitude(self.qkv(x).unflatten(1, (-1, 3)), dim=1)
        q, k, v = parts.transpose(1, -1).unbind(2)
        return _weighted_sum(x, self.proj_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2)))


class VAEMiddle(nn.Module):
    """The innermost level: two residual blocks around attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = VAEResidualBlock(channels, channels)
        self.attn_1 = VAEAttentionBlock(channels)
        self.block_2 = VAEResidualBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, length) to the same shape."""
        return self.block_2(self.attn_1(self.block_1(x))).clamp(-_CLIP, _CLIP)


class VAELevel(nn.Module):
    """Residual blocks at one length."""

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            VAEResidualBlock(inputs if index == 0 else outputs, outputs) for index in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, length) to (batch, outputs, length)."""
        for block in self.block:
            x = block(x).clamp(-_CLIP, _CLIP)
        return x


class _Upsample(nn.Module):
    """Doubles the length by repetition and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv_without_bias(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.repeat_interleave(2, dim=-1))


class _DoublingLevel(VAELevel):
    """A level whose output is twice as long as its input."""

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__(inputs, outputs, blocks)
        self.upsample = _Upsample(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(super().forward(x))


class VAEDecoder(nn.Module):
    """Latents to normalised mel at twice their rate."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        first, second, third = (config.width * level for level in LEVEL_WIDTHS)
        self.conv_in = conv_without_bias(config.latent_dim, third, 3)
        self.mid = VAEMiddle(third)
        self.up = nn.ModuleList(
            [VAELevel(second, first, 3), _DoublingLevel(third, second, 3), VAELevel(third, third, 3)]
        )
        self.conv_out = conv_without_bias(first, config.mel_bands, 3)
        self.learnable_gain = nn.Parameter(torch.zeros(()))

    def forward(self, latents: Tensor) -> Tensor:
        """(batch, latent_dim, latents) to (batch, mel_bands, 2 · latents)."""
        x = self.mid(self.conv_in(latents))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(scaled_silu(x)) * (1 + self.learnable_gain)


class VAE(nn.Module):
    """The decoder, and the mean and standard deviation of each mel band over the training set."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.decoder = VAEDecoder(config)
        self.data_mean = nn.Parameter(torch.zeros(1, config.mel_bands, 1))
        self.data_std = nn.Parameter(torch.ones(1, config.mel_bands, 1))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (batch, latent_dim, n) to log mel (batch, mel_bands, 2n)."""
        return self.decoder(latents) * self.data_std + self.data_mean


def load_vae(path: Path, config: VAEConfig) -> VAE:
    """Loads the decoder from `v1-16.pth` or `v1-44.pth` in float32 and ignores the encoder's weights.

    Raises ModelMissingError, ModelFailedError and MemoryExhaustedError.
    """
    state = {name: value for name, value in read_state(path).items() if not name.startswith("encoder.")}
    with torch.device("meta"):
        vae = VAE(config)
    network = f"the VAE's decoder for {config.mel_bands} mel bands"
    load_strict(vae, without_originals(state, normalised_weights(state)), network=network, where=path)
    return vae.eval()


def normalised_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scales each output channel of published weights to unit magnitude, over √fan-in (EDM2 eq. 66).

    Entries that are no weights are returned unchanged.
    """
    return {
        name: _normalised(value)
        if name.endswith(".weight") and value.ndim > 1 and value.is_floating_point()
        else value
        for name, value in state.items()
    }


def unit_magnitude(x: Tensor, dim: int) -> Tensor:
    """Divides `x` by its root mean square along `dim`, which is computed in float32."""
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=torch.float32)
    return x / (_EPS + norm / math.sqrt(x.shape[dim])).to(x.dtype)


def conv_without_bias(inputs: int, outputs: int, kernel: int) -> nn.Conv1d:
    """A convolution that keeps the length and has no bias, as in all layers of the autoencoder."""
    return nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


def scaled_silu(x: Tensor) -> Tensor:
    """SiLU over its gain, so that the magnitude of the input is kept (EDM2 eq. 81)."""
    return F.silu(x) / _SILU_GAIN


def _normalised(weight: Tensor) -> Tensor:
    rows = weight.flatten(1)
    return (unit_magnitude(rows, dim=1) / math.sqrt(rows.shape[1])).view_as(weight)


def _weighted_sum(x: Tensor, inner: Tensor) -> Tensor:
    """Magnitude-preserving sum (EDM2 eq. 88)."""
    return torch.lerp(x, inner, _RESIDUAL_SHARE) / math.hypot(1 - _RESIDUAL_SHARE, _RESIDUAL_SHARE)
