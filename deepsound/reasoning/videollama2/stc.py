"""The spatial-temporal convolution connector, version 3.5: frames' patches to tokens of the language model.

Four RegNet blocks a frame, a convolution that halves time, height and width, four more blocks, and a readout
(arXiv 2406.07476, section 3). Block names are those of timm's RegStage, which the released weights use.
"""

import math

from torch import Tensor, nn
from torch.nn import functional

_BLOCKS = 4
_SQUEEZE = 0.25
_NORM_EPS = 1e-5


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of (batch, channels, height, width)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """The same shape."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNorm(nn.Module):
    """Convolution without bias, norm over channels, SiLU where `active`."""

    def __init__(self, channels: int, out: int, kernel: int, *, groups: int = 1, active: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.bn = LayerNorm2d(out, eps=_NORM_EPS)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, out, height, width)."""
        x = self.bn(self.conv(x))
        return functional.silu(x) if self.active else x


class SqueezeExcite(nn.Module):
    """Channels weighed by a gate computed from their means over the picture."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to the same shape."""
        return x * self.fc2(functional.silu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Bottleneck(nn.Module):
    """RegNet's block: 1 × 1, 3 × 3 a channel, squeeze-excite, 1 × 1, added to its input."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, out, 1)
        self.conv2 = ConvNorm(out, out, 3, groups=out)
        self.se = SqueezeExcite(out, round(channels * _SQUEEZE))
        self.conv3 = ConvNorm(out, out, 1, active=False)
        self.downsample = nn.Identity() if channels == out else ConvNorm(channels, out, 1, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, out, height, width)."""
        return functional.silu(self.conv3(self.se(self.conv2(self.conv1(x)))) + self.downsample(x))


def _stage(channels: int, out: int) -> nn.Sequential:
    stage = nn.Sequential()
    for number in range(_BLOCKS):
        stage.add_module(f"b{number + 1}", Bottleneck(out if number else channels, out))
    return stage


class STCConnector(nn.Module):
    """`stc_connector_v35`."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.s1 = _stage(channels, hidden)
        self.sampler = nn.Sequential(nn.Conv3d(hidden, hidden, 2, stride=2), nn.SiLU())
        self.s2 = _stage(hidden, hidden)
        self.readout = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden))

    def forward(self, patches: Tensor) -> Tensor:
        """(batch, frames, side², channels) to (batch, frames // 2 × (side // 2)², hidden), time first.

        An odd last frame, row or column is left out, as the released connector does.
        """
        batch, frames, count, _ = patches.shape
        side = math.isqrt(count)
        x = patches.flatten(0, 1).transpose(1, 2).unflatten(2, (side, side))
        x = self.s1(x).unflatten(0, (batch, frames)).transpose(1, 2)
        x = self.sampler(x)
        frames = x.shape[2]
        x = self.s2(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, frames))
        return self.readout(x.permute(0, 1, 3, 4, 2).flatten(1, 3))
