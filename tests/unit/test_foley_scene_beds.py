"""Which beds a picture asks for, from curves made up to show one thing at a time."""

from dataclasses import replace

import numpy as np
import pytest

from deepsound.generation.foley.motion_curves import HUES, MotionCurves
from deepsound.generation.foley.prompt_words import Steering, read_prompts
from deepsound.generation.foley.scene_beds import LEVELS, bed_envelopes, detect_scenes
from deepsound.generation.foley.synthesis import CONTROL_RATE

RATE = 25


def curves(seconds: float = 4.0, **changes: object) -> MotionCurves:
    """A still grey picture at 25 frames a second, but for what is changed."""
    n = round(seconds * RATE)
    nothing = np.zeros(n, np.float32)
    still = MotionCurves(
        time=np.arange(n) / RATE,
        change=nothing,
        histogram_change=nothing,
        camera=np.zeros((n, 2), np.float32),
        motion=np.zeros((n, 3, 8), np.float32),
        leaving=nothing,
        entering=nothing,
        moving=nothing,
        moving_colour=np.zeros((n, 3), np.float32),
        brightness=nothing + np.float32(0.5),
        edges=nothing,
        hues=np.zeros((n, 2, len(HUES)), np.float32),
    )
    return replace(still, **changes)


def hues(seconds: float = 4.0, upper: str = "", lower: str = "") -> np.ndarray:
    shares = np.zeros((round(seconds * RATE), 2, len(HUES)), np.float32)
    for half, hue in enumerate((upper, lower)):
        if hue:
            shares[:, half, HUES.index(hue)] = 0.9
    return shares


def constant(value: float, seconds: float = 4.0) -> np.ndarray:
    return np.full(round(seconds * RATE), value, np.float32)


def moving(right_a_second: float, column: int = 1, seconds: float = 4.0) -> np.ndarray:
    motion = np.zeros((round(seconds * RATE), 3, 8), np.float32)
    motion[:, column, 0] = right_a_second / RATE
    return motion


def weights(seen: MotionCurves, steering: Steering | None = None) -> dict[str, float]:
    (scene,) = detect_scenes(seen, len(seen.time) / RATE, steering or read_prompts("", ""))
    return {name: bed.weight for name, bed in scene.beds.items()}


def test_a_still_grey_picture_has_room_tone_and_waits_for_movement() -> None:
    assert weights(curves()) == {"room tone": 1.0, "movement": 1.0}


def test_blue_below_that_is_never_still_is_water_and_a_blue_wall_is_not() -> None:
    sea = curves(hues=hues(lower="cyan"), change=constant(0.008))
    wall = curves(hues=hues(lower="cyan"))
    assert weights(sea)["water"] > 0.9
    assert "water" not in weights(wall)
    assert "water" not in weights(replace(sea, edges=constant(0.3)))


def test_open_sky_is_wind_and_less_of_it_by_night() -> None:
    day = curves(hues=hues(upper="blue"))
    night = replace(day, brightness=constant(0.05))
    assert weights(day)["wind"] > weights(night)["wind"] > 0.0


def test_green_is_foliage() -> None:
    assert weights(curves(hues=hues(upper="green", lower="green")))["foliage"] > 0.9


def test_steady_heavy_movement_is_a_rumble() -> None:
    assert weights(curves(motion=moving(0.6)))["rumble"] == 1.0
    assert "rumble" not in weights(curves(motion=moving(0.03)))


def test_the_prompt_brings_beds_and_the_negative_prompt_takes_them() -> None:
    asked = weights(curves(), read_prompts("rain", ""))
    assert asked["rain"] >= 0.9
    refused = weights(curves(hues=hues(upper="blue")), read_prompts("", "wind, movement, room tone"))
    assert set(refused) == {"room tone"}


def test_scenes_change_at_cuts_and_very_short_ones_are_none() -> None:
    change = constant(0.0)
    change[[50, 53]] = 0.4
    scenes = detect_scenes(curves(change=change), 4.0, read_prompts("", ""))
    assert [(scene.start, scene.end) for scene in scenes] == [(0.0, 2.0), (2.0, 4.0)]


def test_beds_cross_fade_within_a_tenth_of_a_second_of_the_cut() -> None:
    change = constant(0.0)
    change[50] = 0.4
    sky = hues(upper="blue")
    sky[50:] = 0.0
    seen = curves(change=change, hues=sky)
    scenes = detect_scenes(seen, 4.0, read_prompts("", ""))
    gain = bed_envelopes(seen, scenes, 4.0).gains["wind"]
    time = np.arange(len(gain)) / CONTROL_RATE
    assert np.all(gain[time < 1.9] == pytest.approx(gain[0]))
    assert np.all(gain[time > 2.1] == 0.0)
    assert np.abs(np.diff(gain)).max() < 0.3 * gain[0]


def test_levels_are_as_documented_at_full_weight() -> None:
    seen = curves()
    score = bed_envelopes(seen, detect_scenes(seen, 4.0, read_prompts("", "")), 4.0)
    assert 20 * np.log10(score.gains["room tone"]) == pytest.approx(LEVELS["room tone"], abs=1e-3)


@pytest.mark.parametrize(("column", "side"), [(0, -1.0), (1, 0.0), (2, 1.0)])
def test_activity_follows_speed_and_pan_follows_the_place(column: int, side: float) -> None:
    seen = curves(motion=moving(0.1, column))
    score = bed_envelopes(seen, detect_scenes(seen, 4.0, read_prompts("", "")), 4.0)
    middle = slice(CONTROL_RATE, 3 * CONTROL_RATE)
    assert score.activity[middle] == pytest.approx(0.5, abs=0.01)
    assert score.pan[middle] == pytest.approx(side, abs=0.01)


def test_a_camera_that_pans_is_softly_heard() -> None:
    panned = curves(camera=np.full((100, 2), 0.5 / RATE, np.float32))
    score = bed_envelopes(panned, detect_scenes(panned, 4.0, read_prompts("", "")), 4.0)
    assert 0.1 < score.activity[200] < 0.7


def test_speed_is_counted_in_seconds_whatever_the_frame_rate() -> None:
    seen = curves(motion=moving(0.1))
    slower = replace(seen, time=seen.time * 2.0, motion=seen.motion * 2.0)
    for one, seconds in ((seen, 4.0), (slower, 8.0)):
        score = bed_envelopes(one, detect_scenes(one, seconds, read_prompts("", "")), seconds)
        assert score.activity[100:300] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("frames", [0, 1])
def test_hardly_any_frames_still_make_a_score(frames: int) -> None:
    seen = curves().part(0, frames)
    scenes = detect_scenes(seen, 0.04, read_prompts("", ""))
    score = bed_envelopes(seen, scenes, 0.04)
    assert len(scenes) == 1
    assert np.all(score.activity == 0.0)
    assert np.all(score.gains["room tone"] > 0.0)
