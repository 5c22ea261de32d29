"""The network: spectrogram, bands, transformers over time and over bands in turn, a complex mask.

Parameter names are those of the official checkpoint. Stereo lies inside the frequency axis: bin by bin, left
then right, real then imaginary.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepsound.models.onednn_linear import Linear, gains_from_onednn
from deepsound.separation.bs_roformer.config import BANDS, CHANNELS, BSRoformerConfig

_COMPLEX = 2
_BAND_WIDTHS = tuple(bins * CHANNELS * _COMPLEX for bins in BANDS)
_EXPANSION = 4
_ROPE_BASE = 10_000.0
_ROWS = 2048
"""Vectors at once on a CPU: enough for matrix products at full speed, and little enough to stay in cache."""


class RMSNorm(nn.Module):
    """Every vector to length sqrt(dim), then a gain a channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = dim**0.5
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to the same shape."""
        return functional.normalize(x, dim=-1) * self.scale * self.gamma


class Rotary(nn.Module):
    """Rotary position embedding over adjacent pairs of channels (Su et al., arXiv 2104.09864)."""

    freqs: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        exponents = torch.arange(0, head_dim, 2).float() / head_dim
        self.register_buffer("freqs", _ROPE_BASE**-exponents)

    def rotation(self, length: int) -> Tensor:
        """Complex unit numbers (length, head_dim / 2) in float32."""
        angles = torch.outer(torch.arange(length, device=self.freqs.device).float(), self.freqs.float())
        return torch.polar(torch.ones_like(angles), angles)


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn the channel pairs of (..., length, head_dim); in float32 whatever the dtype of x."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """Self-attention with rotary positions and one sigmoid gate a head, computed from its input."""

    def __init__(self, config: BSRoformerConfig, rotary: Rotary) -> None:
        super().__init__()
        inner = config.heads * config.head_dim
        self.heads = config.heads
        self.rotary_embed = rotary
        self.norm = RMSNorm(config.dim)
        self.to_qkv = Linear(config.dim, 3 * inner, bias=False)
        self.to_gates = nn.Linear(config.dim, config.heads)
        self.to_out = nn.Sequential(Linear(inner, config.dim, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, dim) to the same shape."""
        x = self.norm(x)
        qkv = self.to_qkv(x).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        rotation = self.rotary_embed.rotation(x.shape[1])
        y = functional.scaled_dot_product_attention(_rotate(q, rotation), _rotate(k, rotation), v)
        gates = self.to_gates(x).sigmoid().transpose(1, 2).unsqueeze(-1)
        return self.to_out((y * gates).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Norm, four times wider, GELU, back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        wide = _EXPANSION * dim
        # The two Identities stand where training had dropout, so that the layers keep their numbers.
        self.net = nn.Sequential(
            RMSNorm(dim), Linear(dim, wide), nn.GELU(), nn.Identity(), Linear(wide, dim), nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to the same shape."""
        norm, *layers = self.net.children()
        x = norm(x)
        # In one layout from end to end, since every change of it copies.
        inner = x.to_mkldnn() if gains_from_onednn(x) else x
        for layer in layers:
            inner = layer(inner)
        return inner.to_dense() if inner.is_mkldnn else inner


class Transformer(nn.Module):
    """One block of attention and feed-forward, each added to its input."""

    def __init__(self, config: BSRoformerConfig, rotary: Rotary) -> None:
        super().__init__()
        block = nn.ModuleList([Attention(config, rotary), FeedForward(config.dim)])
        self.layers = nn.ModuleList([block])

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, dim) to the same shape."""
        for module in self.layers[0].children():
            x = module(x) + x
        return x


def _replace(sequences: Tensor, transformer: nn.Module) -> None:
    """Put what `transformer` makes of (batch, n, length, dim) in their place.

    On a CPU a few at a time: buffers for all at once are fetched from the system for every layer anew, page by
    page, and leave the cache between two operations.
    """
    few = max(_ROWS // sequences.shape[2], 1) if sequences.device.type == "cpu" else sequences.shape[1]
    for item in sequences:
        for piece in item.split(few):
            piece.copy_(transformer(piece.contiguous()))


class BandSplit(nn.Module):
    """Each band's numbers, normed and projected to one vector."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_features = nn.ModuleList(
            nn.Sequential(RMSNorm(width), Linear(width, dim)) for width in _BAND_WIDTHS
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, 4100) to (batch, frames, bands, dim)."""
        bands = x.split(_BAND_WIDTHS, dim=-1)
        return torch.stack([project(band) for project, band in zip(self.to_features, bands, strict=True)], -2)


class MaskEstimator(nn.Module):
    """Each band's vector back to the numbers of that band's complex mask."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        wide = _EXPANSION * dim
        self.to_freqs = nn.ModuleList(
            nn.Sequential(nn.Sequential(Linear(dim, wide), nn.Tanh(), Linear(wide, 2 * width)), nn.GLU(dim=-1))
            for width in _BAND_WIDTHS
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, bands, dim) to (batch, frames, 4100)."""
        return torch.cat([mask(x[..., band, :]) for band, mask in enumerate(self.to_freqs)], dim=-1)


class BSRoformer(nn.Module):
    """Voice out of a stereo mix at 44.1 kHz."""

    def __init__(self, config: BSRoformerConfig) -> None:
        super().__init__()
        self.config = config
        time, band = Rotary(config.head_dim), Rotary(config.head_dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([Transformer(config, time), Transformer(config, band)]) for _ in range(config.depth)
        )
        self.final_norm = RMSNorm(config.dim)
        self.band_split = BandSplit(config.dim)
        self.mask_estimators = nn.ModuleList([MaskEstimator(config.dim)])

    def forward(self, mix: Tensor) -> Tensor:
        """Samples (batch, 2, n) to the voice in them, (batch, 2, n)."""
        spectrum = self._transform(mix)
        mask = self.mask_estimators[0](self.final_norm(self._encode(spectrum)))
        mask = torch.view_as_complex(mask.float().unflatten(-1, (-1, _COMPLEX)).contiguous())
        return self._invert(spectrum * mask, mix.shape[-1])

    def _encode(self, spectrum: Tensor) -> Tensor:
        """(batch, frames, 2050) complex to (batch, frames, bands, dim)."""
        x = self.band_split(torch.view_as_real(spectrum).flatten(-2))
        for time, band in (pair.children() for pair in self.layers):
            _replace(x.transpose(1, 2), time)
            _replace(x, band)
        return x

    def _transform(self, mix: Tensor) -> Tensor:
        """(batch, 2, n) to a complex spectrogram (batch, frames, bins × 2), channels side by side in a bin."""
        window, size, hop = self._frames(mix.device)
        spectrum = torch.stft(mix.flatten(0, 1), size, hop, window=window, return_complex=True)
        return spectrum.unflatten(0, (-1, CHANNELS)).permute(0, 3, 2, 1).flatten(2)

    def _invert(self, spectrum: Tensor, length: int) -> Tensor:
        window, size, hop = self._frames(spectrum.device)
        channels = spectrum.unflatten(2, (-1, CHANNELS)).permute(0, 3, 2, 1).flatten(0, 1)
        samples: Tensor = torch.istft(channels, size, hop, window=window, length=length)
        return samples.unflatten(0, (-1, CHANNELS))

    def _frames(self, device: torch.device) -> tuple[Tensor, int, int]:
        size, hop = self.config.window, self.config.hop
        return torch.hann_window(size, device=device), size, hop
