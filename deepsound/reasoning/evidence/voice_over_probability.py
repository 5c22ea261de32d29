"""How likely there is voice-over, from what was measured. Pure.

The constants were chosen on the development half of the voice-over benchmark (benchmarks/voiceover.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.detection.centerface import FACE_SCORE
from deepsound.detection.person_sounds import PEOPLE_RULE
from deepsound.reasoning.evidence.visibility import SHORTEST_PIECE
from deepsound.spans import Span

HALF_AT = 0.36
"""Weighed seconds at which the probability is one half."""

STEEPNESS = 3.0

DOUBT = 0.03
"""The probability never comes closer to 0 or 1 than this: the networks may be wrong with all confidence. Where
they found nothing, 3 of 81 clips of the development half had voice-over all the same."""

UNSECONDED = 0.5
"""What a second counts that only one of two speech detectors heard well. Measured: saxophones and cartoon
noises that Silero takes for speech have no second; of speech at 0 dB and above, nearly all has."""

AGREEMENT = 0.5
"""Share of the first detector's doubt that goes where the second hears speech too."""

CLEAR_MARGIN = 0.25
"""A face score this far below `FACE_SCORE` leaves no doubt that nobody is there."""

STILL, MOVING = 0.015, 0.035
"""Movement of a mouth (see `Sight.mouth_movement`) up to which it is surely shut, and from which it may speak.
Measured: silent faces up to 0.03, drawn mouths that talk from 0.19 on, a real child's in profile from 0.06."""


@dataclass(frozen=True, slots=True, eq=False)
class HeardVoice:
    """A stretch in which people are heard, and in which someone is in the picture all the time or never.

    `people` is how likely people are heard in the surest two seconds of the long voice it lies in, by all
    detectors together (detection/person_sounds.py), 0 where it lies in none. `wordless`: it is no clear speech;
    its `confidence` is then `people`, else its mean speech probability. `seconded` is the share of it that the
    second detector heard as speech too; `scores` (n,) are the face scores of the frames on show; `movement` is
    that of the busiest mouth, None where no mouth could be watched.
    """

    span: Span
    wordless: bool
    confidence: float
    seconded: float
    people: float
    person_visible: bool
    scores: NDArray[np.float32]
    movement: float | None

    @property
    def mouths_still(self) -> bool:
        """Whether someone is in the picture who is rather not the one that is heard."""
        return self.person_visible and self._away >= 0.5

    @property
    def off_screen(self) -> bool:
        """Whether it comes from outside the picture."""
        return self.mouths_still or not self.person_visible

    @property
    def weight(self) -> float:
        """Seconds of it that count: 0 for a piece too short to count alone, else heard × away.

        `heard` is what `people` is worth: the seconds that `voice_over_probability` would call as likely, or their
        part of a piece under PEOPLE_RULE.min_length. For speech it is at least
        duration × max(0, 2 sure - 1) × (UNSECONDED + (1 - UNSECONDED) seconded), where sure is
        confidence + AGREEMENT × (1 - confidence) × seconded. `away` is the mean of
        min(1, max(0, (FACE_SCORE - score) / CLEAR_MARGIN)) where nobody is in the picture, and falls from 1 at
        STILL to 0 at MOVING where somebody is; 0 where their mouth could not be watched.
        """
        if self.span.duration < SHORTEST_PIECE:
            return 0.0
        return self._heard * self._away

    @property
    def _heard(self) -> float:
        likely = min(self.people, 1.0 - DOUBT)
        share = min(1.0, self.span.duration / PEOPLE_RULE.min_length)
        worth = share * HALF_AT * (likely / (1.0 - likely)) ** (1.0 / STEEPNESS)
        if self.wordless:
            return worth
        sure = self.confidence + AGREEMENT * (1.0 - self.confidence) * self.seconded
        agreed = UNSECONDED + (1.0 - UNSECONDED) * self.seconded
        return max(worth, self.span.duration * max(0.0, 2.0 * sure - 1.0) * agreed)

    @property
    def _away(self) -> float:
        if not self.person_visible:
            margins = np.clip((FACE_SCORE - self.scores.astype(np.float64)) / CLEAR_MARGIN, 0.0, 1.0)
            return float(margins.mean())
        if self.movement is None:
            return 0.0
        return float(np.clip((MOVING - self.movement) / (MOVING - STILL), 0.0, 1.0))


def voice_over_probability(seconds: float) -> float:
    """A logistic function of the logarithm of s, the weighed `seconds` of voices from outside the picture:

    DOUBT + (1 - 2 DOUBT) / (1 + (HALF_AT / s) ^ STEEPNESS), and DOUBT where s is 0.

    So it rises with every second heard, with the confidence that it is a voice, with a second detector's
    agreement and with the margin by which faces or moving mouths were missed, and never falls for speech that
    is added.
    """
    odds = (seconds / HALF_AT) ** STEEPNESS
    return DOUBT + (1.0 - 2.0 * DOUBT) * odds / (1.0 + odds)
