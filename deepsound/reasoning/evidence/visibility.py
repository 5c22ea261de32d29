"""When people are in the picture, and how that cuts the speech. Pure: arrays and spans in, spans out."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.detection.centerface import FACE_SCORE
from deepsound.media.observers import Observation
from deepsound.reasoning.evidence.observer import FRAMES_A_LOOK
from deepsound.spans import Span, intersect, merge, subtract

SURE_FACE = 0.65
"""Score from which one look is enough; a lesser face must be found in two looks in a row of one shot. Photographs
of things without people score up to 0.57 in single looks."""

REACH = 3.0
"""Seconds before and after a sighting, within its shot, for which the person is taken to be still there:
people turn round and look away. A face that stays unseen for longer is taken to have left."""

SHORTEST_PIECE = 0.4
"""A piece of a speech shorter than this takes its neighbour's side: cuts between frames looked at are known
to a quarter of a second at best, and speech seldom changes its speaker within so little."""


WHOLE_FACE = 0.25
"""Share of its own motion that a mouth is given at least: where the whole face moves, its mouth may move too."""

BUSIEST = 0.9
"""A mouth moves as much as it does in the busiest tenth of its frames: speech has pauses."""

FEWEST_WATCHED = 4
"""Frames in which a mouth must have been watched, and for half the time, to say anything of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What was seen: a row per frame looked at, each standing for the time up to the next (see observer.py).

    `time` (n,), n ≥ 1, is in order; `duration` is the presented length of the video in seconds. `mouth_time`,
    `mouth_motion` and `face_motion` (m,) have a row per frame in which a mouth was watched.
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
    def of(cls, observation: Observation, duration: float, rate: float) -> "Sight":
        """The observer's arrays, of a video `duration` seconds long looked at `rate` times a second."""
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
        """Where a face was found for sure, (n,): see `SURE_FACE`."""
        likely = self.score >= FACE_SCORE
        again = likely[1:] & likely[:-1] & ~self.new_shot[1:]
        return (self.score >= SURE_FACE) | np.append(again, False) | np.append(False, again)

    def shots(self) -> tuple[Span, ...]:
        """The shots, end to end from 0 to `duration`; the true cut lies within half a look of ours."""
        cuts = [0.0]
        for row in np.flatnonzero(self.new_shot).tolist():
            since = self.time[row] - self.time[row - 1] if row else 0.0
            # A frame that stands for long is looked at once; the change came just before the next one.
            cuts.append(float(self.time[row] - min(since, 1 / self.rate) / 2))
        return tuple(Span(start, end) for start, end in zip(cuts, [*cuts[1:], self.duration], strict=True))

    def people(self) -> tuple[Span, ...]:
        """When people are taken to be in the picture: around each sighting, as far as `REACH` and the shot."""
        ends = np.append(self.time[1:], self.duration)
        shots = self.shots()
        starts = [shot.start for shot in shots]
        near: list[Span] = []
        for row in np.flatnonzero(self.found).tolist():
            shot = shots[bisect_right(starts, float(self.time[row])) - 1]
            first, last = float(self.time[row]) - REACH, float(ends[row]) + REACH
            near.append(Span(max(shot.start, first), min(shot.end, last)))
        return merge(near)

    def scores_in(self, span: Span) -> NDArray[np.float32]:
        """Face scores of the frames shown at any time in `span`; at least one."""
        first = max(0, int(np.searchsorted(self.time, span.start, side="right")) - 1)
        last = int(np.searchsorted(self.time, span.end, side="left"))
        return self.score[first : max(last, first + 1)]

    def mouth_movement(self, span: Span) -> float | None:
        """How much the busiest mouth in the picture moved in `span`; None where too few frames showed one.

        In standard deviations of the face's brightness: what the mouth changed beyond the face around it, and
        no less than `WHOLE_FACE` of all it changed.
        """
        inside = slice(*np.searchsorted(self.mouth_time, (span.start, span.end)))
        mouth, face = self.mouth_motion[inside], self.face_motion[inside]
        if mouth.size < max(FEWEST_WATCHED, 0.5 * span.duration * self.rate * FRAMES_A_LOOK):
            return None
        return float(np.quantile(np.maximum(mouth - face, WHOLE_FACE * mouth), BUSIEST))


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of speech through which someone is in the picture, or nobody is."""

    span: Span
    person_visible: bool


def cut_at_visibility(speech: Span, people: Sequence[Span]) -> tuple[Piece, ...]:
    """`speech` in pieces, end to end, that alternate between seen and unseen, slivers joined to a neighbour."""
    seen = [Piece(span, True) for span in intersect([speech], people) if span.duration > 0]
    unseen = [Piece(span, False) for span in subtract([speech], people) if span.duration > 0]
    pieces = sorted([*seen, *unseen], key=lambda piece: piece.span)
    while len(pieces) > 1:
        shortest = min(range(len(pieces)), key=lambda i: pieces[i].span.duration)
        if pieces[shortest].span.duration >= SHORTEST_PIECE:
            break
        pieces = _absorbed(pieces, shortest)
    return tuple(pieces)


def _absorbed(pieces: list[Piece], sliver: int) -> list[Piece]:
    """The pieces with one given to the side of its neighbours, which then are one piece with it."""
    first, last = max(0, sliver - 1), min(len(pieces) - 1, sliver + 1)
    whole = Span(pieces[first].span.start, pieces[last].span.end)
    side = not pieces[sliver].person_visible
    return [*pieces[:first], Piece(whole, side), *pieces[last + 1 :]]
