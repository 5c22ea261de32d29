"""How likely there is voice-over, from what was measured. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.reasoning.evidence.centerface import FACE_SCORE
from deepsound.reasoning.evidence.visibility import SHORTEST_PIECE
from deepsound.spans import Span

HALF_AT = 0.5
"""Weighed seconds at which the probability is one half."""

STEEPNESS = 2.0

DOUBT = 0.01
"""The probability never comes closer to 0 or 1 than this: the networks may be wrong with all confidence."""

UNSECONDED = 0.5
"""What a second counts that only the first of two speech detectors heard. Measured: saxophones and cartoon
noises that Silero takes for speech have no second; of speech at 0 dB and above, nearly all has."""

CLEAR_MARGIN = 0.25
"""A face score this far below `FACE_SCORE` leaves no doubt that nobody is there."""


@dataclass(frozen=True, slots=True, eq=False)
class UnseenSpeech:
    """Speech while nobody is in the picture.

    `confidence` is its mean speech probability, `seconded` the share of it that the second detector heard as
    speech too, `scores` (n,) the face scores of the frames on show.
    """

    span: Span
    confidence: float
    seconded: float
    scores: NDArray[np.float32]

    @property
    def weight(self) -> float:
        """Seconds of it that count: 0 for a piece too short to count alone, else

        duration × max(0, 2 confidence - 1) × (UNSECONDED + (1 - UNSECONDED) seconded)
        × mean(min(1, max(0, (FACE_SCORE - score) / CLEAR_MARGIN))).
        """
        if self.span.duration < SHORTEST_PIECE:
            return 0.0
        heard = max(0.0, 2.0 * self.confidence - 1.0)
        margins = np.clip((FACE_SCORE - self.scores.astype(np.float64)) / CLEAR_MARGIN, 0.0, 1.0)
        agreed = UNSECONDED + (1.0 - UNSECONDED) * self.seconded
        return self.span.duration * heard * agreed * float(margins.mean())


def voice_over_probability(seconds: float) -> float:
    """A logistic function of the logarithm of s, the weighed `seconds` of unseen speech in all:

    DOUBT + (1 - 2 DOUBT) / (1 + (HALF_AT / s) ^ STEEPNESS), and DOUBT where s is 0.

    So it rises with every second heard, with the confidence that it is speech, with a second detector's
    agreement and with the margin by which faces were missed, and never falls for speech that is added.
    """
    odds = (seconds / HALF_AT) ** STEEPNESS
    return DOUBT + (1.0 - 2.0 * DOUBT) * odds / (1.0 + odds)
