"""What the foley generator sees: a few numbers a frame about motion, colour and texture, and nothing more."""

from dataclasses import dataclass, fields
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsound.media.observers import FrameSampling, Observation

DIRECTIONS = 8
COLUMNS = 3
HUES = ("warm", "yellow", "green", "cyan", "blue", "magenta")

_UNMOVED_PIXELS = 0.25  # flow below this at the working size is sensor noise or compression
_CHANGED_LUMA = 8  # of 255
_AROUND = np.ones((5, 5), np.uint8)
_BORDER = 0.05  # of the long side: how wide the band is in which something comes into or goes out of view
_VIVID_SATURATION, _VIVID_VALUE = 50, 40  # of 255; below these a hue means nothing
_HUE_ENDS = (20, 35, 78, 96, 130, 165)  # upper ends in OpenCV's half degrees; the last share wraps to warm
_STILL = np.zeros((1, 1, 2), np.float32)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MotionCurves:
    """Per-frame curves of one video, first axis n frames in presentation order.

    `time` (n,): seconds. `change` (n,): mean absolute luma change from the frame before, 0..1.
    `histogram_change` (n,): share of pixels whose coarse colour changed, 0..1.
    `camera` (n, 2): the picture's common shift since the frame before, right and down, in long sides.
    `motion` (n, 3, 8): movement other than the camera's, by soft column (left, middle, right) and direction
    (0 is right, then clockwise in steps of 45°): mean displacement over the picture, in long sides.
    `leaving`, `entering` (n,): the part of that movement that crosses the picture's border outward, inward.
    `moving` (n,): share of the picture that moves; `moving_colour` (n, 3): its mean RGB, 0..1.
    `brightness` (n,): mean luma, 0..1. `edges` (n,): share of the picture that is steep.
    `hues` (n, 2, 6): share of the upper and lower half of the picture that shows each of `HUES` vividly.
    """

    time: NDArray[np.float64]
    change: Floats
    histogram_change: Floats
    camera: Floats
    motion: Floats
    leaving: Floats
    entering: Floats
    moving: Floats
    moving_colour: Floats
    brightness: Floats
    edges: Floats
    hues: Floats

    @classmethod
    def from_observation(cls, observation: Observation) -> "MotionCurves":
        """The curves out of what `MotionObserver` kept. Raises KeyError where one is missing."""
        return cls(
            time=observation["time"].astype(np.float64),
            **{name: observation[name].astype(np.float32) for name in _SHAPES},
        )

    def part(self, first: int, last: int) -> "MotionCurves":
        """The curves of frames `first` up to, but not including, `last`."""
        return MotionCurves(**{field.name: getattr(self, field.name)[first:last] for field in fields(self)})


_SHAPES: dict[str, tuple[int, ...]] = {
    "change": (),
    "histogram_change": (),
    "camera": (2,),
    "motion": (COLUMNS, DIRECTIONS),
    "leaving": (),
    "entering": (),
    "moving": (),
    "moving_colour": (3,),
    "brightness": (),
    "edges": (),
    "hues": (2, len(HUES)),
}


@dataclass(frozen=True, slots=True)
class _Look:
    """What the next frame is compared with."""

    luma: NDArray[np.uint8]
    histogram: Floats


class MotionObserver:
    """Watches every shown frame at 160 pixels and keeps `MotionCurves`: about 200 bytes a frame."""

    name = "foley-motion"
    version = "1"
    sampling = FrameSampling(rate=None, long_side=160)

    def __init__(self) -> None:
        self._flow = _flow_estimator()
        self._before: _Look | None = None
        self._times: list[NDArray[np.float64]] = []
        self._kept: dict[str, list[Floats]] = {name: [] for name in _SHAPES}

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Take a block: RGB (n, height, width, 3), and presentation times (n,) in seconds."""
        rows: dict[str, list[Floats]] = {name: [] for name in _SHAPES}
        for frame in frames:
            for name, value in self._look(frame).items():
                rows[name].append(np.asarray(value, np.float32))
        for name, values in rows.items():
            self._kept[name].append(_stack(values, name))
        self._times.append(np.array(times, np.float64))

    def finish(self) -> Observation:
        """The arrays of `MotionCurves` by name; empty where no frame was seen."""
        time = np.concatenate([np.zeros(0), *self._times])
        kept = {name: np.concatenate([_stack([], name), *blocks]) for name, blocks in self._kept.items()}
        return {"time": time, **kept}

    def _look(self, frame: NDArray[np.uint8]) -> dict[str, NDArray[np.generic] | float]:
        luma = cast(NDArray[np.uint8], cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
        now = _Look(luma, _histogram(frame))
        before, self._before = self._before, now
        if before is None or before.luma.shape != luma.shape:
            before = now
        return {
            "change": float(cv2.norm(luma, before.luma, cv2.NORM_L1)) / (255.0 * luma.size),
            "histogram_change": 0.5 * float(np.abs(now.histogram - before.histogram).sum()),
            **_movement(self._displacement(before, now), frame, _changed(before, now)),
            **_appearance(frame, luma),
        }

    def _displacement(self, before: _Look, now: _Look) -> Floats:
        """Where each pixel of `before` went: (height, width, 2) in pixels."""
        height, width = now.luma.shape
        if before is now or min(height, width) < 16:
            return np.broadcast_to(_STILL, (height, width, 2))
        start = np.zeros((height, width, 2), np.float32)
        return cast(Floats, self._flow.calc(before.luma, now.luma, start))


def _flow_estimator() -> cv2.DISOpticalFlow:
    """Dense inverse search (Kroeger et al., ECCV 2016), tuned to follow small objects at 160 pixels."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow.setFinestScale(1)
    flow.setPatchSize(8)
    flow.setPatchStride(2)
    flow.setGradientDescentIterations(25)
    flow.setVariationalRefinementIterations(0)
    # Propagation between patches follows the number of threads; without it the flow is the same everywhere.
    flow.setUseSpatialPropagation(False)
    return flow


def _stack(rows: list[Floats], name: str) -> Floats:
    return np.stack(rows) if rows else np.zeros((0, *_SHAPES[name]), np.float32)


def _histogram(frame: NDArray[np.uint8]) -> Floats:
    """Share of the picture in each of 4 × 4 × 4 RGB cells."""
    counts = cv2.calcHist([frame], [0, 1, 2], None, [4, 4, 4], [0, 256, 0, 256, 0, 256])
    return counts.astype(np.float32) / (frame.shape[0] * frame.shape[1])


def _changed(before: _Look, now: _Look) -> NDArray[np.bool_]:
    """Where the picture changed, and a little around: flow spills far over flat ground, change does not."""
    difference = cv2.absdiff(before.luma, now.luma)
    return cv2.dilate((difference > _CHANGED_LUMA).astype(np.uint8), _AROUND).astype(bool)


def _movement(
    flow: Floats, frame: NDArray[np.uint8], changed: NDArray[np.bool_]
) -> dict[str, NDArray[np.generic] | float]:
    height, width = flow.shape[:2]
    long_side = float(max(height, width))
    camera = np.median(flow[::2, ::2].reshape(-1, 2), axis=0)
    own = flow - camera
    speed = np.hypot(own[..., 0], own[..., 1])
    flows = speed > _UNMOVED_PIXELS
    own[~flows] = 0.0
    moves = flows & changed
    along = np.maximum(own.reshape(-1, 2) @ _COMPASS, 0.0).reshape(height, width, DIRECTIONS).mean(axis=0)
    return {
        "camera": camera / long_side,
        "motion": _columns(width) @ along / (width * long_side),
        "leaving": _across_border(own, moves) * float(speed[flows].sum()) / (speed.size * long_side),
        "entering": _across_border(-own, moves) * float(speed[flows].sum()) / (speed.size * long_side),
        "moving": float(moves.mean()),
        "moving_colour": _mean_colour(frame, moves),
    }


def _across_border(flow: Floats, moves: NDArray[np.bool_]) -> float:
    """Share of the displacement of what moves that points outward in a band along the four sides."""
    total = float(np.hypot(flow[moves, 0], flow[moves, 1]).sum())
    moving = flow * moves[..., None]
    band = max(1, round(max(flow.shape[:2]) * _BORDER))
    sides = (-moving[:, :band, 0], moving[:, -band:, 0], -moving[:band, :, 1], moving[-band:, :, 1])
    return float(sum(np.maximum(side, 0.0).sum() for side in sides)) / total if total else 0.0


_ANGLES = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
_COMPASS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)]).astype(np.float32)


def _columns(width: int) -> Floats:
    """Three overlapping windows across the picture that add up to one everywhere: (3, width)."""
    place = np.linspace(0.0, COLUMNS - 1.0, width, dtype=np.float32)
    return np.maximum(0.0, 1.0 - np.abs(place - np.arange(COLUMNS, dtype=np.float32)[:, None]))


def _mean_colour(frame: NDArray[np.uint8], where: NDArray[np.bool_]) -> Floats:
    if not where.any():
        return np.zeros(3, np.float32)
    return np.asarray(cv2.mean(frame, where.astype(np.uint8))[:3], np.float32) / 255.0


def _appearance(frame: NDArray[np.uint8], luma: NDArray[np.uint8]) -> dict[str, NDArray[np.generic] | float]:
    across, down = cv2.spatialGradient(luma)
    steep = np.abs(across.astype(np.int32)) + np.abs(down.astype(np.int32)) > 160
    hsv = cast(NDArray[np.uint8], cv2.cvtColor(frame, cv2.COLOR_RGB2HSV))
    half = max(1, hsv.shape[0] // 2)
    return {
        "brightness": float(luma.mean()) / 255.0,
        "edges": float(steep.mean()),
        "hues": np.stack([_hue_shares(hsv[:half]), _hue_shares(hsv[-half:])]),
    }


def _hue_shares(hsv: NDArray[np.uint8]) -> Floats:
    vivid = (hsv[..., 1] > _VIVID_SATURATION) & (hsv[..., 2] > _VIVID_VALUE)
    which = np.searchsorted(_HUE_ENDS, hsv[..., 0][vivid], side="left") % len(HUES)
    return (np.bincount(which, minlength=len(HUES)) / vivid.size).astype(np.float32)
