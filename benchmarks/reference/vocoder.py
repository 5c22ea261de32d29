"""BigVGAN as the reference runs it: the whole clip at once, resampling by grouped convolutions."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor

from deepsound.generation.mmaudio.bigvgan import BigVGANConfig
from deepsound.generation.mmaudio.kaiser_filter import LOW_PASS

_KERNELS = (3, 7, 11)
_DILATIONS = (1, 3, 5)
_BEFORE, _AFTER, _CROP = 5, 6, 15


def vocode(w: Mapping[str, Tensor], config: BigVGANConfig, mel: Tensor) -> Tensor:
    """(1, mel_bands, frames) to sound (1, 1, samples); `w` with its weight norm folded."""
    x = F.conv1d(mel, w["conv_pre.weight"], w["conv_pre.bias"], padding=3)
    for stage, rate in enumerate(config.rates):
        name = f"ups.{stage}.0"
        x = F.conv_transpose1d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=rate, padding=rate // 2)
        blocks = [_block(w, f"resblocks.{stage * len(_KERNELS) + index}", x) for index in range(len(_KERNELS))]
        x = sum(blocks[1:], start=blocks[0]) / len(_KERNELS)
    x = _snake(w, "activation_post.act", x)
    x = F.conv1d(x, w["conv_post.weight"], w.get("conv_post.bias"), padding=3)
    return x.clamp(-1, 1) if config.second else x.tanh()


def _block(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    for index, dilation in enumerate(_DILATIONS):
        inner = _conv(w, f"{name}.convs1.{index}", _snake(w, f"{name}.activations.{2 * index}.act", x), dilation)
        x = x + _conv(w, f"{name}.convs2.{index}", _snake(w, f"{name}.activations.{2 * index + 1}.act", inner), 1)
    return x


def _conv(w: Mapping[str, Tensor], name: str, x: Tensor, dilation: int) -> Tensor:
    weight = w[f"{name}.weight"]
    padding = dilation * (weight.shape[-1] - 1) // 2
    return F.conv1d(x, weight, w[f"{name}.bias"], dilation=dilation, padding=padding)


def _snake(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    channels = x.shape[1]
    taps = torch.tensor(LOW_PASS, dtype=x.dtype).expand(channels, 1, -1)
    fine = F.pad(x, (_BEFORE, _BEFORE), mode="replicate")
    fine = 2 * F.conv_transpose1d(fine, taps, stride=2, groups=channels)[..., _CROP:-_CROP]
    alpha, beta = (w[f"{name}.{kind}"].exp()[:, None] for kind in ("alpha", "beta"))
    fine = fine + (1.0 / (beta + 1e-9)) * torch.sin(fine * alpha).pow(2)
    return F.conv1d(F.pad(fine, (_BEFORE, _AFTER), mode="replicate"), taps, stride=2, groups=channels)
