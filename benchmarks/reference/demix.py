"""BS-RoFormer and its chunked separation as the reference runs them: every chunk, four in a batch."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from numpy.typing import NDArray
from torch import Tensor

from deepsound.separation.bs_roformer.config import BANDS, CHANNELS, BSRoformerConfig

_GROUP = 4
_WIDTHS = tuple(bins * CHANNELS * 2 for bins in BANDS)

Parameters = Mapping[str, Tensor]


def demix(w: Parameters, config: BSRoformerConfig, mix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The voice in `mix` (2, n) at 44.1 kHz."""
    size, step, length = config.chunk, config.chunk // 2, mix.shape[1]
    border = size - step
    padded = torch.from_numpy(mix)
    if length > 2 * border:
        padded = F.pad(padded, (border, border), mode="reflect")
    summed, weight = torch.zeros_like(padded), torch.zeros_like(padded)
    starts = list(range(0, padded.shape[1], step))
    for first in range(0, len(starts), _GROUP):
        group = starts[first : first + _GROUP]
        voices = separate(w, config, torch.stack([_chunk(padded, start, size) for start in group]))
        window = _window(size, opens=group[-1] == 0, closes=group[-1] == starts[-1] and group[-1] != 0)
        for start, voice in zip(group, voices, strict=True):
            stop = min(start + size, padded.shape[1])
            summed[:, start:stop] += (voice * window)[:, : stop - start]
            weight[:, start:stop] += window[: stop - start]
    voice = torch.nan_to_num(summed / weight)
    return (voice[:, border:-border] if length > 2 * border else voice).numpy()


def _chunk(padded: Tensor, start: int, size: int) -> Tensor:
    part = padded[:, start : start + size]
    lacking = size - part.shape[1]
    return F.pad(part, (0, lacking), mode="reflect" if part.shape[1] > size // 2 + 1 else "constant")


def _window(size: int, *, opens: bool, closes: bool) -> Tensor:
    fade = torch.linspace(0, 1, size // 10)
    window = torch.ones(size)
    if not opens:
        window[: len(fade)] = fade
    if not closes:
        window[-len(fade) :] = fade.flip(0)
    return window


def separate(w: Parameters, config: BSRoformerConfig, mix: Tensor) -> Tensor:
    """Samples (batch, 2, n) to the voice in them."""
    window = torch.hann_window(config.window)
    spectrum = torch.stft(mix.flatten(0, 1), config.window, config.hop, window=window, return_complex=True)
    spectrum = spectrum.unflatten(0, (-1, CHANNELS)).permute(0, 3, 2, 1).flatten(2)
    x = torch.view_as_real(spectrum).flatten(-2)
    split = "band_split.to_features"
    bands = [
        F.linear(_norm(w, f"{split}.{band}.0", part), w[f"{split}.{band}.1.weight"], w[f"{split}.{band}.1.bias"])
        for band, part in enumerate(x.split(_WIDTHS, dim=-1))
    ]
    x = torch.stack(bands, dim=-2)
    for layer in range(config.depth):
        for axis in (0, 1):
            # Bands by turns first and second, and sequences laid side by side.
            x = x.transpose(1, 2)
            batch = x.shape[:2]
            x = _transformer(w, f"layers.{layer}.{axis}.layers.0", config, x.flatten(0, 1)).unflatten(0, batch)
    mask = _mask(w, _norm(w, "final_norm", x))
    voice = spectrum * torch.view_as_complex(mask.unflatten(-1, (-1, 2)).contiguous())
    channels = voice.unflatten(2, (-1, CHANNELS)).permute(0, 3, 2, 1).flatten(0, 1)
    samples = torch.istft(channels, config.window, config.hop, window=window, length=mix.shape[-1])
    return samples.unflatten(0, (-1, CHANNELS))


def _transformer(w: Parameters, name: str, config: BSRoformerConfig, x: Tensor) -> Tensor:
    normed = _norm(w, f"{name}.0.norm", x)
    qkv = F.linear(normed, w[f"{name}.0.to_qkv.weight"]).unflatten(-1, (3, config.heads, -1))
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    angles = torch.outer(torch.arange(x.shape[1]).float(), w[f"{name}.0.rotary_embed.freqs"]).repeat_interleave(
        2, -1
    )
    found = F.scaled_dot_product_attention(_rotated(q, angles), _rotated(k, angles), v)
    gates = F.linear(normed, w[f"{name}.0.to_gates.weight"], w[f"{name}.0.to_gates.bias"]).sigmoid()
    found = (found * gates.transpose(1, 2).unsqueeze(-1)).transpose(1, 2).flatten(2)
    x = F.linear(found, w[f"{name}.0.to_out.0.weight"]) + x
    inner = F.linear(_norm(w, f"{name}.1.net.0", x), w[f"{name}.1.net.1.weight"], w[f"{name}.1.net.1.bias"])
    return F.linear(F.gelu(inner), w[f"{name}.1.net.4.weight"], w[f"{name}.1.net.4.bias"]) + x


def _rotated(x: Tensor, angles: Tensor) -> Tensor:
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * angles.cos() + torch.stack([-odd, even], dim=-1).flatten(-2) * angles.sin()


def _mask(w: Parameters, x: Tensor) -> Tensor:
    parts: list[Tensor] = []
    for band in range(len(BANDS)):
        name = f"mask_estimators.0.to_freqs.{band}.0"
        inner = F.linear(x[..., band, :], w[f"{name}.0.weight"], w[f"{name}.0.bias"]).tanh()
        parts.append(F.glu(F.linear(inner, w[f"{name}.2.weight"], w[f"{name}.2.bias"]), dim=-1))
    return torch.cat(parts, dim=-1)


def _norm(w: Parameters, name: str, x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1) * x.shape[-1] ** 0.5 * w[f"{name}.gamma"]
