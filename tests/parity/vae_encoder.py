"""The autoencoder's encoder, which the golden files check and the product does not need: mel to latents."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor, nn

from deepsound.generation.mmaudio.vae import (
    LEVEL_WIDTHS,
    VAE,
    VAEConfig,
    VAELevel,
    VAEMiddle,
    conv_without_bias,
    scaled_silu,
)


class Downsample(nn.Module):
    """Halves the length by averaging between two pointwise convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv_without_bias(channels, channels, 1)
        self.conv2 = conv_without_bias(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, length) to (batch, channels, length // 2)."""
        return self.conv2(F.avg_pool1d(self.conv1(x), 2))


class HalvingLevel(VAELevel):
    """A level whose output is half as long as its input."""

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__(inputs, outputs, blocks)
        self.downsample = Downsample(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, length) to (batch, outputs, length // 2)."""
        return self.downsample(super().forward(x))


class VAEEncoder(nn.Module):
    """Normalised mel to mean and log-variance of the latents at half the frame rate."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        first, second, third = (config.width * level for level in LEVEL_WIDTHS)
        self.conv_in = conv_without_bias(config.mel_bands, first, 3)
        self.down = nn.ModuleList(
            [HalvingLevel(first, first, 2), VAELevel(first, second, 2), VAELevel(second, third, 2)]
        )
        self.mid = VAEMiddle(third)
        self.conv_out = conv_without_bias(third, 2 * config.latent_dim, 3)
        self.learnable_gain = nn.Parameter(torch.zeros(()))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, mel_bands, frames) to mean and log-variance, (batch, latent_dim, frames // 2) each."""
        x = self.conv_in(mel)
        for level in self.down:
            x = level(x)
        x = self.conv_out(scaled_silu(self.mid(x))) * (1 + self.learnable_gain)
        mean, log_variance = x.chunk(2, dim=1)
        return mean, log_variance


class VAEWithEncoder(VAE):
    """Both halves, as in the published files."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        self.encoder = VAEEncoder(config)

    def encode(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Log mel (batch, mel_bands, 2n) to mean and log-variance of its latents, (batch, latent_dim, n)."""
        return self.encoder((mel - self.data_mean) / self.data_std)
