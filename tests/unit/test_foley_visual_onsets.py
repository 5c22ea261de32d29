"""Visual onsets, seen by the real observer in frames drawn on the spot."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepsound.generation.foley.motion_curves import HUES, MotionCurves, MotionObserver
from deepsound.generation.foley.visual_onsets import Onset, find_cuts, find_onsets
from tests.made_clips import bouncing_ball

SIZE = (160, 90)
IMPACTS = (0.55, 1.3, 1.95, 2.5, 2.9, 3.25)

Frame = NDArray[np.uint8]


def observe(frames: Sequence[Frame], times: Sequence[float], block: int = 32) -> MotionCurves:
    observer = MotionObserver()
    for start in range(0, len(frames), block):
        part = slice(start, start + block)
        observer.see(np.stack(frames[part]), np.array(times[part]))
    return MotionCurves.from_observation(observer.finish())


def filmed(scene: Callable[[float], Frame], seconds: float, rate: float = 25.0) -> MotionCurves:
    times = [float(time) for time in np.arange(0.0, seconds, 1 / rate)]
    return observe([scene(time) for time in times], times)


def box(x: float, y: float, size: int = 20) -> Frame:
    """A yellow box over a plain wall, its top left corner at (x, y) pixels."""
    picture = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    first_row, first_column = max(0, round(y)), max(0, round(x))
    picture[first_row : max(0, round(y) + size), first_column : max(0, round(x) + size)] = (230, 200, 60)
    return picture


def flat(red: int, green: int, blue: int) -> Frame:
    return np.full((SIZE[1], SIZE[0], 3), (red, green, blue), np.uint8)


def times_of(onsets: Sequence[Onset]) -> list[float]:
    return [onset.time for onset in onsets]


@pytest.mark.parametrize("rate", [24.0, 30_000 / 1001, 60.0])
def test_every_bounce_is_found_at_any_frame_rate(rate: float) -> None:
    curves = filmed(bouncing_ball(IMPACTS, SIZE), 4.0, rate)
    assert times_of(find_onsets(curves)) == pytest.approx(IMPACTS, abs=1.5 / rate)


def test_a_sudden_stop_is_an_onset_where_it_stands_in_the_picture() -> None:
    curves = filmed(lambda time: box(10 + 110 * min(time, 1.0), 35), 2.0)
    (onset,) = find_onsets(curves)
    assert onset.time == pytest.approx(1.0, abs=0.05)
    assert onset.pan > 0.3
    red, green, blue = onset.colour
    assert red > blue
    assert green > blue


def test_a_start_out_of_rest_is_an_onset() -> None:
    curves = filmed(lambda time: box(20 + 110 * max(0.0, time - 1.0), 35), 1.8)
    assert times_of(find_onsets(curves)) == pytest.approx([1.0], abs=0.06)


def test_a_swing_is_no_onset() -> None:
    curves = filmed(lambda time: box(70 + 50 * np.sin(2 * np.pi * 0.7 * time), 35), 3.0)
    assert find_onsets(curves) == ()


def test_leaving_the_picture_is_no_onset() -> None:
    curves = filmed(lambda time: box(60 + 120 * time, 35), 2.0)
    assert find_onsets(curves) == ()


def texture(seed: int) -> Frame:
    """Soft coloured blotches, wider than the picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 30, 3), dtype=np.uint8)
    return cv2.resize(coarse, (2 * SIZE[0], SIZE[1]), interpolation=cv2.INTER_CUBIC)


def test_a_scene_cut_is_a_cut_and_no_onset() -> None:
    """Half of the picture is black, so that the change at the cut is not taken for a moving camera."""
    before, after = texture(1) // 2, 255 - texture(2) // 2

    def scene(time: float) -> Frame:
        shown, shift = (before, round(30 * time)) if time < 1.0 else (after, round(30 * (2.0 - time)))
        picture = flat(0, 0, 0)
        picture[:, 80:] = shown[:, shift : shift + 80]
        return picture

    curves = filmed(scene, 2.0)
    assert curves.time[find_cuts(curves)].tolist() == pytest.approx([1.0])
    assert find_onsets(curves) == ()


def test_what_shivers_all_the_time_hits_nothing() -> None:
    curves = filmed(lambda time: box(70 + 3 * np.sin(2 * np.pi * 6 * time), 35), 3.0, 30.0)
    assert [time for time in times_of(find_onsets(curves)) if time > 0.3] == []


def test_a_movement_drawn_on_threes_does_not_stop_at_every_drawing() -> None:
    """Eight pictures a second, each shown three times."""
    curves = filmed(lambda time: box(10 + 80 * np.floor(time * 8 + 1e-6) / 8, 35), 1.0, 24.0)
    assert find_onsets(curves) == ()


def test_onsets_follow_presentation_times_at_a_variable_rate() -> None:
    steps = np.random.default_rng(4).choice([1 / 60, 1 / 30, 1 / 24, 1 / 20], 130)
    times = [0.0, *(float(time) for time in np.cumsum(steps))]
    ball = bouncing_ball(IMPACTS, SIZE)
    curves = observe([ball(time) for time in times], times)
    found = [time for time in times_of(find_onsets(curves)) if time < times[-1] - 0.2]
    assert found == pytest.approx(IMPACTS[: len(found)], abs=0.06)
    assert len(found) >= 5


def test_long_footage_is_taken_in_stretches_without_losing_or_doubling_an_onset() -> None:
    once = filmed(bouncing_ball(IMPACTS, SIZE), 4.0)
    repeats = 90  # six minutes: more than one stretch, and its edge falls within a repeat
    joined = {name: np.concatenate([getattr(once, name)] * repeats) for name in MotionCurves.__dataclass_fields__}
    joined["time"] = np.arange(len(joined["time"])) / 25.0
    found = np.array(times_of(find_onsets(MotionCurves.from_observation(joined))))
    expected = (np.array(times_of(find_onsets(once)))[None] + 4.0 * np.arange(repeats)[:, None]).ravel()
    assert np.all(np.min(np.abs(found[None] - expected[:, None]), axis=1) < 0.05)
    assert np.all(np.diff(found) >= 0.12 - 1e-9)


def test_one_frame_has_curves_and_nothing_happens_in_it() -> None:
    curves = observe([flat(20, 30, 220)], [0.0])
    assert curves.motion.shape == (1, 3, 8)
    assert find_onsets(curves) == ()
    assert len(find_cuts(curves)) == 0


def test_no_frame_at_all_still_has_curves() -> None:
    curves = MotionCurves.from_observation(MotionObserver().finish())
    assert curves.hues.shape == (0, 2, len(HUES))
    assert find_onsets(curves) == ()


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (31, 9), (160, 3)])
def test_tiny_and_odd_pictures_are_seen(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) for _ in range(6)]
    curves = observe(frames, [k / 25 for k in range(6)])
    for name in MotionCurves.__dataclass_fields__:
        assert np.all(np.isfinite(getattr(curves, name)))


@settings(max_examples=4, deadline=None)
@given(block=st.integers(1, 40))
def test_what_is_seen_does_not_depend_on_the_blocks_it_came_in(block: int) -> None:
    ball = bouncing_ball((0.5,), SIZE)
    times = [k / 25 for k in range(25)]
    frames = [ball(time) for time in times]
    whole, parts = observe(frames, times, 25), observe(frames, times, block)
    for name in MotionCurves.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_colours_are_shared_out_by_half_and_hue() -> None:
    picture = flat(30, 60, 220)
    picture[SIZE[1] // 2 :] = (30, 200, 40)
    curves = observe([picture], [0.0])
    upper, lower = curves.hues[0]
    assert upper[HUES.index("blue")] == pytest.approx(1.0)
    assert lower[HUES.index("green")] == pytest.approx(1.0)


def test_motion_is_told_apart_by_column_and_direction() -> None:
    curves = filmed(lambda time: box(20 + 60 * time, 35), 0.6)
    columns_by_direction = curves.motion[3:].mean(axis=0)
    assert columns_by_direction.sum(axis=0).argmax() == 0  # to the right
    assert columns_by_direction[0].sum() > columns_by_direction[2].sum()
