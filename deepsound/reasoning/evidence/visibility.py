"""Computes when people are in the picture and splits speech at those times. Pure functions of arrays and spans."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.detection.centerface import FACE_SCORE
from deepsound.media.observers import Observation
from deepsound.reasoning.evidence.observer import FRAMES_PER_DETECTION
from deepsound.spans import Span, intersect, merge, subtract

CONFIDENT_FACE = 0.65
"""Face score from which a single detection is enough. A face with a lower score must be found in two detections in
a row of one shot: photographs without people score up to 0.57 in single detections."""

PRESENCE_SECONDS = 3.0
"""Seconds before and after a detected face, within its shot, in which the person counts as visible: people turn
round and look away. A face that is not detected for longer counts as gone."""

MIN_PIECE_SECONDS = 0.4
"""Shorter pieces of speech are merged into their neighbours: shot cuts are known to a quarter of a second at best,
and speakers rarely change within so short a time."""

MIN_MOUTH_SHARE = 0.25
"""A mouth's movement is at least this share of its measured motion: in a moving face the mouth may move too."""

MOTION_QUANTILE = 0.9
"""A mouth's movement is this quantile of its motion over the frames, because speech has pauses."""

MIN_MOUTH_FRAMES = 4
"""A mouth's movement is known only if it was measured in this many frames and for half of the time."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceTimeline:
    """Face detections and mouth motion of one video over time (arrays of `observer.FaceObserver`).

    Each detection holds until the next one. `time` (n,), n ≥ 1, in ascending order; `faces`, `score`, `new_shot`
    (n,). `mouth_time`, `mouth_motion`, `face_motion` (m,): one value per frame in which a mouth was measured.
    `duration`: presented length of the video in seconds. `rate`: detections per second.
    """

    time: NDArray[np.float64]
    faces: NDArray[np.int32]
    score: NDArray[np.float32]
    new_shot: NDArray[np.bool_]
    mouth_time: NDArray[np.float64]
    mouth_motion: NDArray[np.float32]
    face_motion: NDArray[np.float32]
    duration: float
    rate: float

    @classmethod
    def from_observation(cls, observation: Observation, duration: float, rate: float) -> "FaceTimeline":
        """Build the timeline of a video of `duration` seconds from arrays sampled `rate` times a second."""
        return cls(
            observation["time"].astype(np.float64),
            observation["faces"].astype(np.int32),
            observation["score"].astype(np.float32),
            observation["new_shot"].astype(np.bool_),
            observation["mouth_time"].astype(np.float64),
            observation["mouth_motion"].astype(np.float32),
            observation["face_motion"].astype(np.float32),
            max(duration, float(observation["time"][-1])),
            rate,
        )

    @property
    def found(self) -> NDArray[np.bool_]:
        """Whether each detection found a face with confidence, (n,): see `CONFIDENT_FACE`."""
        likely = self.score >= FACE_SCORE
        again = likely[1:] & likely[:-1] & ~self.new_shot[1:]
        return (self.score >= CONFIDENT_FACE) | np.append(again, False) | np.append(False, again)

    def shots(self) -> tuple[Span, ...]:
        """Contiguous shots from 0 to `duration`; cuts are exact to half a detection interval."""
        cuts = [0.0]
        for row in np.flatnonzero(self.new_shot).tolist():
            since = self.time[row] - self.time[row - 1] if row else 0.0
            # A frame shown for long is detected once, so the cut lies just before the next detection.
            cuts.append(float(self.time[row] - min(since, 1 / self.rate) / 2))
        return tuple(Span(start, end) for start, end in zip(cuts, [*cuts[1:], self.duration], strict=True))

    def people_visible(self) -> tuple[Span, ...]:
        """When people count as visible: `PRESENCE_SECONDS` around each detected face, within its shot."""
        ends = np.append(self.time[1:], self.duration)
        shots = self.shots()
        starts = [shot.start for shot in shots]
        near: list[Span] = []
        for row in np.flatnonzero(self.found).tolist():
            shot = shots[bisect_right(starts, float(self.time[row])) - 1]
            first, last = float(self.time[row]) - PRESENCE_SECONDS, float(ends[row]) + PRESENCE_SECONDS
            near.append(Span(max(shot.start, first), min(shot.end, last)))
        return merge(near)

    def scores_in(self, span: Span) -> NDArray[np.float32]:
        """Face scores of the detections that hold at any time in `span`; at least one."""
        first = max(0, int(np.searchsorted(self.time, span.start, side="right")) - 1)
        last = int(np.searchsorted(self.time, span.end, side="left"))
        return self.score[first : max(last, first + 1)]

    def mouth_movement(self, span: Span) -> float | None:
        """How much the most active mouth moved in `span`; None if it was measured in too few frames.

        The change of the mouth minus that of the face around it, at least `MIN_MOUTH_SHARE` of the mouth's own
        change, in standard deviations of the face's brightness.
        """
        inside = slice(*np.searchsorted(self.mouth_time, (span.start, span.end)))
        mouth, face = self.mouth_motion[inside], self.face_motion[inside]
        if mouth.size < max(MIN_MOUTH_FRAMES, 0.5 * span.duration * self.rate * FRAMES_PER_DETECTION):
            return None
        return float(np.quantile(np.maximum(mouth - face, MIN_MOUTH_SHARE * mouth), MOTION_QUANTILE))


@dataclass(frozen=True, slots=True)
class SpeechPiece:
    """A span of speech during which someone is visible throughout, or nobody is."""

    span: Span
    person_visible: bool


def split_by_visibility(speech: Span, people: Sequence[Span]) -> tuple[SpeechPiece, ...]:
    """Split `speech` into contiguous pieces that alternate in visibility; short pieces join their neighbours."""
    seen = [SpeechPiece(span, True) for span in intersect([speech], people) if span.duration > 0]
    unseen = [SpeechPiece(span, False) for span in subtract([speech], people) if span.duration > 0]
    pieces = sorted([*seen, *unseen], key=lambda piece: piece.span)
    while len(pieces) > 1:
        shortest = min(range(len(pieces)), key=lambda i: pieces[i].span.duration)
        if pieces[shortest].span.duration >= MIN_PIECE_SECONDS:
            break
        pieces = _merged(pieces, shortest)
    return tuple(pieces)


def _merged(pieces: list[SpeechPiece], short: int) -> list[SpeechPiece]:
    """The pieces after one has taken the visibility of its neighbours and become one piece with them."""
    first, last = max(0, short - 1), min(len(pieces) - 1, short + 1)
    whole = Span(pieces[first].span.start, pieces[last].span.end)
    visible = not pieces[short].person_visible
    return [*pieces[:first], SpeechPiece(whole, visible), *pieces[last + 1 :]]
