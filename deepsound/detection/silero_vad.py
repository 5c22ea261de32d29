"""Silero VAD as a stream: one speech probability for every 32 ms, or of the sound played slower."""

from functools import cache
from threading import Lock

import numpy as np
import soxr
from numpy.typing import NDArray

from deepsound.models.identity import ModelIdentity, packaged_file, packaged_identity
from deepsound.models.onnx_network import OnnxNetwork

SAMPLE_RATE = 16000
FRAME = 512
"""Samples in a frame; each frame is shown to the network with the last samples of the one before it."""

SLOWDOWN = 1.25
"""How much longer a slowed sound lasts. Laughs, songs and shouts are high; lower voices Silero knows better."""

_CONTEXT = 64
_STATE = (1, 1, 128)
_PACKAGE = "silero-vad"
_WEIGHTS = "silero_vad/data/silero_vad_16k_sequence.onnx"

_loading = Lock()


def silero_identity() -> ModelIdentity:
    """The weights used. Raises ModelMissingError."""
    return packaged_identity("silero-vad-16k", _PACKAGE, (_WEIGHTS,), "MIT")


class SileroStream:
    """Hears one sound from its beginning. The network is shared, the memory of what was heard is not."""

    def __init__(self) -> None:
        with _loading:
            self._network = _network()
        self._context = np.zeros(_CONTEXT, np.float32)
        self._hidden = np.zeros(_STATE, np.float32)
        self._cell = np.zeros(_STATE, np.float32)

    def process(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (ceil(n / 512),) for the next samples (n,) at 16 kHz.

        Only the last call may bring a number of samples that is no multiple of 512; it is filled with
        silence. Raises ModelFailedError.
        """
        if not samples.size:
            return np.zeros(0, np.float32)
        frames = np.pad(samples, (0, -samples.size % FRAME)).reshape(-1, FRAME)
        before = np.concatenate((self._context[None], frames[:-1, -_CONTEXT:]))
        self._context = frames[-1, -_CONTEXT:].copy()
        inputs = {"input": np.concatenate((before, frames), axis=1), "h": self._hidden, "c": self._cell}
        speech, self._hidden, self._cell = self._network.run(("speech_probs", "hn", "cn"), inputs)
        return speech.reshape(-1)

    def finish(self) -> NDArray[np.float32]:
        """Nothing is left to tell."""
        return np.zeros(0, np.float32)


class SlowedSileroStream:
    """Speech probabilities of one sound resampled to last `SLOWDOWN` times longer, fed in blocks of any length."""

    def __init__(self) -> None:
        self._stream = SileroStream()
        self._slower = soxr.ResampleStream(SAMPLE_RATE, SAMPLE_RATE * SLOWDOWN, 1, dtype="float32")
        self._held = np.zeros(0, np.float32)

    def process(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of what can be told by now. Raises ModelFailedError."""
        held = np.concatenate((self._held, self._slower.resample_chunk(samples)))
        whole = held.size - held.size % FRAME
        self._held = held[whole:]
        return self._stream.process(held[:whole])

    def finish(self) -> NDArray[np.float32]:
        """Probabilities of the rest, which silence follows."""
        rest = self._slower.resample_chunk(np.zeros(0, np.float32), last=True)
        return self._stream.process(np.concatenate((self._held, rest)))


@cache
def _network() -> OnnxNetwork:
    return OnnxNetwork(packaged_file(_PACKAGE, _WEIGHTS).read_bytes(), _WEIGHTS)
