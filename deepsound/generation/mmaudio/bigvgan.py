"""BigVGAN: mel spectrograms to sound (Lee et al., ICLR 2023), the 16 kHz one and the 44.1 kHz second release.

Always float32: snake activations lose their phase in half precision. Sequences are (batch, channels, length).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from deepsound.generation.mmaudio.antialiased_snake import snake_twice_as_fine
from deepsound.models.checkpoints import load_strict, read_state, without_originals

_KERNELS = (3, 7, 11)
_DILATIONS = (1, 3, 5)
_EPS = 1e-9
_PIECE = 345 * 512
"""Samples, half of eight seconds at 44.1 kHz: the longest whose buffers the C library keeps between two layers."""
_OVERLAP = 18
"""The receptive field is 17.6 mel frames to either side, so pieces with this much to spare join exactly."""
_FOLDED = {
    ".weight_g": "g",
    ".weight_v": "v",
    ".parametrizations.weight.original0": "g",
    ".parametrizations.weight.original1": "v",
}


@dataclass(frozen=True, slots=True)
class BigVGANConfig:
    """Mel bands, samples each stage makes of one, and whether it is the second release.

    The second release has no bias at the end and clips its output; the first squashes it with tanh.
    """

    mel_bands: int
    rates: tuple[int, ...]
    second: bool
    width: int = 1536


BIGVGAN_16K = BigVGANConfig(80, (4, 4, 2, 2, 2, 2), second=False)
BIGVGAN_44K = BigVGANConfig(128, (8, 4, 2, 2, 2, 2), second=True)


class _SnakeBeta(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))


class AntialiasedSnake(nn.Module):
    """x + sin²(αx) / β at twice the sample rate, α and β learned as logarithms (sections 3.2 and 3.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = _SnakeBeta(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, length), the same."""
        return snake_twice_as_fine(x, self.act.alpha.exp(), 1 / (self.act.beta.exp() + _EPS))


class AMPBlock(nn.Module):
    """Three pairs of activated convolutions, the first of each dilated (AMP block)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_conv(channels, channels, kernel, step) for step in _DILATIONS)
        self.convs2 = nn.ModuleList(_conv(channels, channels, kernel) for _ in _DILATIONS)
        self.activations = nn.ModuleList(AntialiasedSnake(channels) for _ in range(2 * len(_DILATIONS)))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, length), the same."""
        pairs = zip(self.convs1, self.convs2, self.activations[::2], self.activations[1::2], strict=True)
        for wide, narrow, before, between in pairs:
            x = narrow(between(wide(before(x)))) + x
        return x


class BigVGAN(nn.Module):
    """The generator with its weight norm folded; other names are the published files'."""

    def __init__(self, config: BigVGANConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width >> stage for stage in range(len(config.rates) + 1)]
        self.conv_pre = _conv(config.mel_bands, widths[0], 7)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose1d(wide, narrow, 2 * rate, rate, padding=rate // 2))
            for wide, narrow, rate in zip(widths, widths[1:], config.rates, strict=False)
        )
        self.resblocks = nn.ModuleList(AMPBlock(width, kernel) for width in widths[1:] for kernel in _KERNELS)
        self.activation_post = AntialiasedSnake(widths[-1])
        self.conv_post = nn.Conv1d(widths[-1], 1, 7, padding=3, bias=not config.second)

    @property
    def hop(self) -> int:
        """Samples a mel frame."""
        return math.prod(self.config.rates)

    def forward(self, mel: Tensor) -> Tensor:
        """(batch, mel_bands, frames) to sound in [-1, 1], (batch, 1, frames · hop)."""
        x = self.conv_pre(mel)
        for stage, up in enumerate(self.ups):
            x = up(x)
            blocks = self.resblocks[stage * len(_KERNELS) : (stage + 1) * len(_KERNELS)]
            x = sum((block(x) for block in blocks[1:]), start=blocks[0](x)) / len(_KERNELS)
        x = self.conv_post(self.activation_post(x))
        return x.clamp(-1, 1) if self.config.second else x.tanh()

    def in_pieces(self, mel: Tensor, vocode: Callable[[Tensor], Tensor] | None = None) -> Iterator[Tensor]:
        """As `forward`, piece by piece (batch, 1, samples): the same sound, memory flat.

        `vocode` runs this network on a piece; by default that is done at once.

        Whole clips make buffers so large that the C library returns them to the system after every layer, and
        most of the time on a CPU goes into mapping them anew.
        """
        frames, vocode, step = mel.shape[-1], vocode or self, _PIECE // self.hop
        for start in range(0, frames, step):
            stop = min(start + step, frames)
            first, last = max(start - _OVERLAP, 0), min(stop + _OVERLAP, frames)
            sound = vocode(mel[..., first:last])
            yield sound[..., (start - first) * self.hop : (stop - first) * self.hop]


def load_bigvgan(path: Path, config: BigVGANConfig) -> BigVGAN:
    """The generator from `best_netG.pt` (16 kHz) or `bigvgan_generator.pt` (44.1 kHz). Raises DeepSoundError."""
    with torch.device("meta"):
        generator = BigVGAN(config)
    state = read_state(path, under="generator")
    folded = without_originals(state, fold_weight_norm(state))
    load_strict(generator, folded, network=f"the BigVGAN for {config.mel_bands} mel bands", where=path)
    return generator.eval()


def fold_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights g · v / ‖v‖ in place of g and v (Salimans & Kingma 2016), norms over all but the first dimension.

    The anti-aliasing filters in the file are left out: they are constants of the architecture. Halves that don't
    fit each other stay as they are.
    """
    folded: dict[str, Tensor] = {}
    halves: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        suffix = next((suffix for suffix in _FOLDED if name.endswith(suffix)), None)
        if suffix is not None:
            halves.setdefault(name.removesuffix(suffix), {})[suffix] = value
        elif not name.endswith(".filter"):
            folded[name] = value
    for stem, half in halves.items():
        by_letter = {_FOLDED[suffix]: value for suffix, value in half.items()}
        if len(half) == len(by_letter) == 2 and _fit(by_letter["g"], by_letter["v"]):
            g, v = by_letter["g"], by_letter["v"]
            folded[f"{stem}.weight"] = v * (g / v.flatten(1).norm(dim=1).view_as(g))
        else:
            folded |= {stem + suffix: value for suffix, value in half.items()}
    return folded


def _fit(g: Tensor, v: Tensor) -> bool:
    rows = (len(v), *[1] * (v.ndim - 1)) if v.ndim > 1 else None
    return g.shape == rows and g.is_floating_point() and v.is_floating_point()


def _conv(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)
