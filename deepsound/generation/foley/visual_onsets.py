"""Visual onsets: the moments at which something in the picture hits, stops, turns round or bursts into motion.

Follows the "visual impact" of Davis and Agrawala, Visual Rhythm and Beat (SIGGRAPH 2018, section 4): motion is
summed by direction, and an impact is a sudden loss in some direction. Here gains count as well, so that a
bounce (lost downward, gained upward) stands out from a swing, and motion is measured in seconds instead of
frames, so that variable frame rates and held frames do not look like stops.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deepsound.generation.foley.filters import running_maximum, running_median
from deepsound.generation.foley.motion_curves import MotionCurves

_WINDOW = 0.07  # seconds compared before and after a moment
_NEIGHBOURHOOD = 0.3  # seconds on each side within which a change has to matter
_APART = 0.12  # seconds; closer onsets are one event
_HOLD = 0.15  # seconds; a repeated frame no longer than this between moving ones is a cadence, not a stop
_LEAST_CHANGE = 0.005  # long sides a second over the picture; less is noise of the flow
_LEAST_SHARE = 0.65  # of the fastest motion nearby that has to be lost or gained at once
_LEAST_SHARE_TO_REST = 0.5  # the same where nothing moves afterwards
_ABOVE_USUAL = 2.0  # times the median change nearby: flicker and water change all the time
_HELD_CHANGE = 0.0005  # mean luma change below which a frame repeats the one before
_CROSSING_SHARE = 0.03  # of the movement lies at the border where something goes out of or comes into view
_SETTLED_SHARE = 0.25  # of the movement is left once something has been put down
_SETTLED_MOTION = 0.05  # long sides a second over the picture that had to move before
_SETTLED_APART = 0.5  # seconds
_STRETCH, _MARGIN = 300.0, 2.0  # seconds looked at together, so that memory does not grow with length
_WHOLE_PICTURE = 0.6  # of the picture; where more moves at once it is the camera
_GENTLE = 0.3  # how hard a settling counts beside a stop of the same movement

Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Onset:
    """One visual onset.

    `time`: presentation time in seconds. `frame`: index of the shown frame. `strength`: change of motion in
    long sides a second over the picture. `pan`: −1 left to 1 right. `area`: share of the picture that moves.
    `colour`: mean RGB of what moves, 0..1.
    """

    time: float
    frame: int
    strength: float
    pan: float
    area: float
    colour: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class _Track:
    """The movement along the frames that count: their indices, times, and displacement summed so far.

    `path` (n, 3, 8) is all of it; `out` and `into` (n, 1) what of it crossed the picture's border.
    """

    frame: Indices
    time: Doubles
    path: Doubles
    out: Doubles
    into: Doubles

    def speed(self, start: float, end: float, path: Doubles | None = None) -> Doubles:
        """Mean movement a second from `start` to `end` seconds off each frame, shaped as the path."""
        path = self.path if path is None else path
        flat = path.reshape(len(self.time), -1)
        first = np.stack([np.interp(self.time + start, self.time, one) for one in flat.T], axis=1)
        last = np.stack([np.interp(self.time + end, self.time, one) for one in flat.T], axis=1)
        return ((last - first) / (end - start)).reshape(path.shape)

    def share(self, crossing: Doubles, start: float, end: float) -> Doubles:
        """Share of the movement in that time that crossed the border: (n,)."""
        return self.speed(start, end, crossing)[:, 0] / (self.speed(start, end).sum(axis=(1, 2)) + 1e-6)


def find_cuts(curves: MotionCurves) -> Indices:
    """Indices of the frames that open a new scene; the first frame is not one."""
    if len(curves.time) < 2:
        return np.zeros(0, np.intp)
    usual = running_median(curves.change, 15)
    abrupt = (curves.change > 0.12) | (curves.histogram_change > 0.3)
    cuts = np.flatnonzero(abrupt & (curves.change > 3.0 * usual))
    return cuts[cuts > 0]


def find_onsets(curves: MotionCurves) -> tuple[Onset, ...]:
    """The visual onsets in order, at least 0.12 s apart; scene cuts are none."""
    starts = np.arange(0.0, curves.time[-1] + 1e-9, _STRETCH) if len(curves.time) else np.zeros(0)
    return tuple(onset for start in starts for onset in _onsets_between(curves, start, start + _STRETCH))


def _onsets_between(curves: MotionCurves, start: float, end: float) -> list[Onset]:
    first, last = (int(frame) for frame in np.searchsorted(curves.time, (start - _MARGIN, end + _MARGIN)))
    onsets = (replace(onset, frame=first + onset.frame) for onset in _onsets_of(curves.part(first, last)))
    return [onset for onset in onsets if start <= onset.time < end]


def _onsets_of(curves: MotionCurves) -> list[Onset]:
    track = _track(curves)
    if len(track.frame) < 3:
        return []
    window = max(_WINDOW, 1.5 * float(np.median(np.diff(track.time))))
    before, after = track.speed(-window, 0.0), track.speed(0.0, window)
    hits = _hits(curves, track, before, after)
    columns = np.abs(after - before).sum(axis=2)
    onsets = [_onset(curves, int(track.frame[k]), columns[k], float(columns[k].sum())) for k in hits]
    fast, slow = track.speed(-0.35, -0.1), track.speed(0.0, 0.25)
    for k in _settled(curves, track, fast, slow, hits):
        lost = _GENTLE * float((fast - slow)[k].sum())
        onsets.append(_onset(curves, int(track.frame[k]), fast[k].sum(axis=1), lost))
    in_picture = (onset for onset in onsets if onset.area <= _WHOLE_PICTURE)
    return sorted(in_picture, key=lambda onset: onset.time)


def _track(curves: MotionCurves) -> _Track:
    """Leaves out held frames; nothing moves at a cut."""
    held = curves.change < _HELD_CHANGE
    held[:1] = False
    keep = np.ones(len(held), bool)
    edges = np.flatnonzero(np.diff(held.astype(np.int8), prepend=0, append=0))
    for start, end in edges.reshape(-1, 2):
        if end < len(held) and curves.time[end] - curves.time[start - 1] <= _HOLD:
            keep[start:end] = False
    frame = np.flatnonzero(keep)
    cuts = find_cuts(curves)
    steps = [curves.motion, curves.leaving[:, None], curves.entering[:, None]]
    return _Track(frame, curves.time[frame], *(_summed(step, cuts)[frame] for step in steps))


def _summed(step: NDArray[np.float32], cuts: Indices) -> Doubles:
    steps = step.astype(np.float64)
    steps[cuts] = 0.0
    return np.cumsum(steps, axis=0)


def _hits(curves: MotionCurves, track: _Track, before: Doubles, after: Doubles) -> list[int]:
    """Positions on the track where motion changes at once: stops, bounces, bursts."""
    lost = np.maximum(before - after, 0.0).sum(axis=(1, 2))
    gained = np.maximum(after - before, 0.0).sum(axis=(1, 2))
    goes_out = track.share(track.out, -0.12, 0.0) > _CROSSING_SHARE
    comes_in = track.share(track.into, 0.0, 0.12) > _CROSSING_SHARE
    only_seen = (goes_out & (gained < 0.3 * lost)) | (comes_in & (lost < 0.3 * gained))
    change = (lost + gained) * ~only_seen
    reach = 2 * _frames(track, _NEIGHBOURHOOD) + 1
    speed, left = before.sum(axis=(1, 2)), after.sum(axis=(1, 2))
    share = np.where(left < 0.1 * speed, _LEAST_SHARE_TO_REST, _LEAST_SHARE)
    needed = np.maximum(_LEAST_CHANGE, share * running_maximum(np.maximum(speed, left), reach))
    usual = running_median(change, 2 * reach + 1)
    stands_out = (change >= needed) & (change >= _ABOVE_USUAL * usual)
    return _strongest(track, change, stands_out & _far_from_cuts(curves, track, 0.08), _APART)


def _settled(curves: MotionCurves, track: _Track, fast: Doubles, slow: Doubles, hits: list[int]) -> list[int]:
    """Positions where a larger movement has come to rest gently, as when something is put down.

    `fast` and `slow` are the movement shortly before each frame and right after it.
    """
    moved, left = fast.sum(axis=(1, 2)), slow.sum(axis=(1, 2))
    goes_out = track.share(track.out, -0.35, 0.0) > _CROSSING_SHARE
    rests = (moved > _SETTLED_MOTION) & (left < _SETTLED_SHARE * moved) & ~goes_out
    rests &= _far_from_cuts(curves, track, 0.25)
    for hit in hits:
        rests &= np.abs(track.time - track.time[hit]) > _SETTLED_APART
    return _strongest(track, moved - left, rests, _SETTLED_APART)


def _far_from_cuts(curves: MotionCurves, track: _Track, seconds: float) -> NDArray[np.bool_]:
    """Where both sides of a moment belong to one scene; the picture's ends count as cuts."""
    cuts = np.concatenate([curves.time[:1], curves.time[find_cuts(curves)], curves.time[-1:] + 1e-9])
    following = np.clip(np.searchsorted(cuts, track.time, side="right"), 1, len(cuts) - 1)
    return (track.time - cuts[following - 1] >= seconds) & (cuts[following] - track.time >= seconds)


def _frames(track: _Track, seconds: float) -> int:
    return max(1, round(seconds / float(np.median(np.diff(track.time)))))


def _strongest(track: _Track, change: Doubles, candidate: NDArray[np.bool_], apart: float) -> list[int]:
    """The strongest candidates that keep `apart` seconds from each other."""
    chosen: list[int] = []
    taken = ~candidate
    for k in np.argsort(-change, kind="stable").tolist():
        if taken[k]:
            continue
        chosen.append(k)
        first, last = np.searchsorted(track.time, (track.time[k] - apart, track.time[k] + apart))
        taken[first:last] = True
    return sorted(chosen)


def _onset(curves: MotionCurves, frame: int, columns: Doubles, strength: float) -> Onset:
    around = slice(max(0, frame - 1), frame + 3)
    weight = curves.moving[around].astype(np.float64) + 1e-9
    red, green, blue = np.average(curves.moving_colour[around].astype(np.float64), axis=0, weights=weight)
    return Onset(
        time=float(curves.time[frame]),
        frame=frame,
        strength=strength,
        pan=float((columns[-1] - columns[0]) / (columns.sum() + 1e-9)),
        area=float(curves.moving[around].max()),
        colour=(float(red), float(green), float(blue)),
    )
