"""Which beds sound in which scene, how loud, and why: from colour, texture and motion to levels over time."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.generation.foley.motion_curves import COLUMNS, HUES, MotionCurves
from deepsound.generation.foley.prompt_words import ROOM_TONE, Steering
from deepsound.generation.foley.synthesis import CONTROL_RATE, amplitude
from deepsound.generation.foley.visual_onsets import find_cuts

LEVELS = {  # dBFS at full weight
    ROOM_TONE: -41.0,
    "wind": -33.0,
    "water": -28.0,
    "rain": -29.0,
    "foliage": -27.0,
    "traffic": -31.0,
    "rumble": -29.0,
    "fire": -29.0,
    "movement": -32.0,
}
_ALWAYS = (ROOM_TONE, "movement")
_ASKED_FOR = 0.9
_LEAST_WEIGHT = 0.08
_LEAST_SPEED, _MOST_SPEED = 0.01, 1.0  # long sides a second over the picture: activity 0 and 1
_PANNING = 0.15  # how much a pan of the camera sounds beside a picture full of movement
_CROSS_FADE = 0.16  # seconds
_SHORTEST_SCENE = 0.3  # seconds
_OPEN_AIR_HUES = [HUES.index("green"), HUES.index("cyan"), HUES.index("blue")]

Control = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bed:
    """That a bed sounds: how much, 0..1, and why."""

    weight: float
    reason: str


_SILENT = Bed(0.0, "")


@dataclass(frozen=True, slots=True)
class Scene:
    """From one cut to the next, in seconds: the beds that sound, by name."""

    start: float
    end: float
    beds: Mapping[str, Bed]


@dataclass(frozen=True, slots=True)
class BedEnvelopes:
    """What the beds play, at `CONTROL_RATE`: `activity` 0..1 and `pan` −1..1 of what moves; a gain a bed."""

    activity: Control
    pan: Control
    gains: dict[str, Control]


def detect_scenes(curves: MotionCurves, duration: float, steering: Steering) -> tuple[Scene, ...]:
    """The scenes of a picture and their beds; one where nothing cuts."""
    starts = [0.0]
    for time in curves.time[find_cuts(curves)].tolist():
        if time - starts[-1] >= _SHORTEST_SCENE and duration - time >= _SHORTEST_SCENE:
            starts.append(time)
    ends = [*starts[1:], duration]
    speed = _speed(curves)
    return tuple(_scene(curves, speed, *span, steering) for span in zip(starts, ends, strict=True))


def _scene(curves: MotionCurves, speed: Doubles, start: float, end: float, steering: Steering) -> Scene:
    first, last = np.searchsorted(curves.time, (start, end))
    seen = _seen(curves, speed, slice(first, last)) if last > first else {}
    found = {name: bed for name, bed in seen.items() if bed.weight >= _LEAST_WEIGHT}
    found |= dict.fromkeys(_ALWAYS, Bed(1.0, "always"))
    for name in steering.wanted & LEVELS.keys():
        found[name] = Bed(max(_ASKED_FOR, found.get(name, _SILENT).weight), "asked for")
    # Room tone stays whatever the prompt says: without it a still picture would be digital silence.
    unwanted = steering.unwanted - {ROOM_TONE}
    return Scene(start, end, {name: found[name] for name in LEVELS if name in found and name not in unwanted})


def _seen(curves: MotionCurves, speed: Doubles, frames: slice) -> dict[str, Bed]:
    """Weight and reason of every bed that the picture itself can ask for."""
    upper, lower = curves.hues[frames].mean(axis=0)
    wet = float(lower[HUES.index("cyan")] + lower[HUES.index("blue")])
    smooth = 1.0 - _ramp(float(curves.edges[frames].mean()), 0.1, 0.25)
    restless = _ramp(float(np.median(curves.change[frames])), 0.002, 0.006)
    green = float((upper + lower)[HUES.index("green")]) / 2
    open_air = float(upper[_OPEN_AIR_HUES].sum())
    daylight = _ramp(float(curves.brightness[frames].mean()), 0.1, 0.4)
    usual = float(np.median(speed[frames]))
    return {
        "water": Bed(
            _ramp(wet, 0.4, 0.8) * smooth * restless, f"lower half {wet:.0%} blue or cyan, few edges, never still"
        ),
        "foliage": Bed(_ramp(green, 0.1, 0.4), f"{green:.0%} green"),
        "wind": Bed(
            0.8 * _ramp(open_air, 0.2, 0.7) * (0.4 + 0.6 * daylight),
            f"upper half {open_air:.0%} green, cyan or blue, {'by day' if daylight > 0.5 else 'dark'}",
        ),
        "rumble": Bed(_ramp(usual, 0.06, 0.5), f"moves {usual:.2f} picture lengths a second throughout"),
    }


def bed_envelopes(curves: MotionCurves, scenes: tuple[Scene, ...], duration: float) -> BedEnvelopes:
    """The beds' levels over time: steps at the scenes' edges with short cross-fades."""
    points = int(np.ceil(duration * CONTROL_RATE)) + 2
    time = np.arange(points) / CONTROL_RATE
    activity, pan = _activity(curves, time)
    starts = np.array([scene.start for scene in scenes])
    scene_at = np.searchsorted(starts, time, side="right") - 1
    beds = [bed for bed in LEVELS if any(bed in scene.beds for scene in scenes)]
    gains: dict[str, Control] = {}
    for bed in beds:
        weights = np.array([scene.beds.get(bed, _SILENT).weight for scene in scenes], np.float64)
        gain = amplitude(LEVELS[bed]) * _smooth(np.take(weights, scene_at), _CROSS_FADE)
        gains[bed] = gain.astype(np.float32)
    return BedEnvelopes(activity.astype(np.float32), pan.astype(np.float32), gains)


def _activity(curves: MotionCurves, time: Doubles) -> tuple[Doubles, Doubles]:
    """How much moves, on a logarithmic scale to 0..1, and on which side, at each time."""
    if len(curves.time) < 2:
        return np.zeros(len(time)), np.zeros(len(time))
    panned: Doubles = np.linalg.norm(_a_second(curves, curves.camera.astype(np.float64)), axis=1)
    speed = _smooth(np.interp(time, curves.time, _speed(curves) + _PANNING * panned), 0.12)
    columns: Doubles = curves.motion.sum(axis=2).astype(np.float64)
    sides = [_smooth(np.interp(time, curves.time, columns[:, side]), 0.4) for side in range(COLUMNS)]
    balance = (sides[-1] - sides[0]) / (np.sum(sides, axis=0) + 1e-6)
    loud = np.log(np.maximum(speed, 1e-6) / _LEAST_SPEED) / np.log(_MOST_SPEED / _LEAST_SPEED)
    return np.clip(loud, 0.0, 1.0), balance


def _speed(curves: MotionCurves) -> Doubles:
    """Movement a second at each frame, in long sides over the picture."""
    return _a_second(curves, curves.motion.astype(np.float64)).sum(axis=(1, 2))


def _a_second(curves: MotionCurves, displacement: Doubles) -> Doubles:
    """Displacement since the frame before as a rate, none at the first frame and at cuts."""
    interval = np.maximum(np.diff(curves.time), 1e-3)
    rate = np.zeros_like(displacement)
    rate[1:] = displacement[1:] / interval.reshape(-1, *[1] * (displacement.ndim - 1))
    rate[find_cuts(curves)] = 0.0
    return rate


def _smooth(curve: NDArray[np.floating], seconds: float) -> Doubles:
    window = np.hanning(round(seconds * CONTROL_RATE) + 2)[1:-1]
    padded = np.pad(curve.astype(np.float64), len(window) // 2, mode="edge")
    smooth: Doubles = np.convolve(padded, window / window.sum(), mode="valid").astype(np.float64)
    return smooth[: len(curve)]


def _ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))
