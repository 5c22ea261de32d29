"""The parts that sound: textures, struck bodies, and the mix that goes on for ever."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepsound.detection.speech_activity import find_speech
from deepsound.generation.foley.filters import SAMPLE_RATE, Sound, band_pass, pink_band
from deepsound.generation.foley.impacts import Impact
from deepsound.generation.foley.mix import mix
from deepsound.generation.foley.modal_synthesis import BODIES, strike
from deepsound.generation.foley.scene_beds import LEVELS, BedEnvelopes
from deepsound.generation.foley.synthesis import (
    BLOCK,
    CONTROL_RATE,
    Drift,
    OverlapAdd,
    noise,
    pan_stereo,
    random_stream,
)
from deepsound.generation.foley.textures import TEXTURES
from deepsound.generation.foley.visual_onsets import Onset
from deepsound.media.audio import write_float_wav


def texture(name: str, seconds: int, activity: float, seed: int = 1) -> Sound:
    made = TEXTURES[name](seed)
    return np.concatenate([made(np.full(BLOCK, activity)) for _ in range(seconds)], axis=1)


def score(seconds: float, beds: tuple[str, ...] = ("room tone", "wind", "water", "rain")) -> BedEnvelopes:
    points = round(seconds * CONTROL_RATE) + 2
    flat = np.ones(points, np.float32)
    return BedEnvelopes(0.5 * flat, 0.0 * flat, dict.fromkeys(beds, 0.02 * flat))


def impact(time: float, material: str = "metal", force: float = 0.8, pan: float = 0.0) -> Impact:
    return Impact(Onset(time, round(25 * time), 0.5, pan, 0.02, (0.5, 0.5, 0.5)), material, force, "a test")


def mixed(score: BedEnvelopes, impacts: list[Impact], samples: int, seed: int = 1) -> Sound:
    return np.concatenate(list(mix(score, impacts, samples, seed))).astype(np.float64)


def level(sound: Sound) -> float:
    return float(10 * np.log10(np.mean(np.square(sound)) + 1e-20))


def test_every_bed_of_the_scenes_has_a_texture() -> None:
    assert set(TEXTURES) == set(LEVELS)


@pytest.mark.parametrize("name", sorted(TEXTURES))
def test_a_texture_has_about_unit_level_and_never_jumps(name: str) -> None:
    sound = texture(name, 4, 1.0)
    assert -8.0 < level(sound) < 3.0
    seams = [abs(sound[:, BLOCK * k] - sound[:, BLOCK * k - 1]).max() for k in (1, 2, 3)]
    assert max(seams) <= np.abs(np.diff(sound, axis=1)).max()
    rough = np.abs(np.diff(sound, 2, axis=1))
    assert max(rough[:, BLOCK * k - 2 : BLOCK * k].max() for k in (1, 2, 3)) < 8 * np.sqrt(np.mean(rough**2))


@pytest.mark.parametrize("name", sorted(TEXTURES))
def test_no_texture_is_taken_for_speech(name: str, tmp_path: Path) -> None:
    sound = texture(name, 10, 0.6, seed=11)
    loud = (0.3 * sound / np.abs(sound).max()).T
    write_float_wav(tmp_path / "bed.wav", SAMPLE_RATE, 2, [loud.astype(np.float32)])
    assert find_speech(tmp_path / "bed.wav").spans == ()


def test_movement_is_silent_where_nothing_moves_and_louder_the_more_does() -> None:
    assert np.all(texture("movement", 1, 0.0) == 0.0)
    assert level(texture("movement", 1, 0.9)) > level(texture("movement", 1, 0.3)) + 6.0


@pytest.mark.parametrize("material", sorted(BODIES))
def test_a_strike_begins_at_once_dies_away_and_never_exceeds_one(material: str) -> None:
    sound = strike(BODIES[material], 0.02, 0.7, random_stream(1, "test"))
    loudest = int(np.argmax(np.abs(sound)))
    assert np.abs(sound).max() == pytest.approx(1.0)
    assert loudest < 0.05 * SAMPLE_RATE
    assert np.abs(sound[: round(0.01 * SAMPLE_RATE)]).max() > 0.3
    assert abs(sound[-1]) < 1e-6
    assert level(sound[-len(sound) // 10 :]) < -35.0


def centre_of_gravity(sound: Sound) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float(np.sum(power * np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)) / np.sum(power))


@pytest.mark.parametrize("material", ["wood", "metal", "glass", "drum", "rubber"])
def test_larger_things_sound_lower(material: str) -> None:
    small, large = (strike(BODIES[material], area, 0.7, random_stream(1, "test")) for area in (0.003, 0.3))
    assert centre_of_gravity(large) < 0.8 * centre_of_gravity(small)


def test_materials_ring_as_long_as_they_should() -> None:
    length = {name: len(strike(body, 0.02, 0.7, random_stream(1, "test"))) for name, body in BODIES.items()}
    assert length["metal"] > length["glass"] > length["wood"] > length["stone"]


@settings(max_examples=20, deadline=None)
@given(
    area=st.floats(1e-6, 1.0),
    force=st.floats(0.0, 1.0),
    material=st.sampled_from(sorted(BODIES)),
    seed=st.integers(0, 2**32),
)
def test_any_strike_is_finite(area: float, force: float, material: str, seed: int) -> None:
    sound = strike(BODIES[material], area, force, np.random.default_rng(seed))
    assert np.all(np.isfinite(sound))
    assert np.abs(sound).max() <= 1.0 + 1e-9


def test_a_longer_picture_begins_with_the_same_samples() -> None:
    short = mixed(score(2.3), [impact(0.5)], round(2.3 * SAMPLE_RATE))
    long = mixed(score(5.0), [impact(0.5), impact(3.0)], 5 * SAMPLE_RATE)
    np.testing.assert_array_equal(short, long[: len(short)])


def test_one_bed_more_does_not_change_the_others() -> None:
    alone, both = mixed(score(1.0, ("wind",)), [], BLOCK), mixed(score(1.0, ("wind", "rain")), [], BLOCK)
    rain = mixed(score(1.0, ("rain",)), [], BLOCK)
    np.testing.assert_allclose(alone + rain, both, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(1, 3 * BLOCK))
def test_the_mix_is_as_long_as_asked(samples: int) -> None:
    blocks = list(mix(score(samples / SAMPLE_RATE, ("room tone",)), [], samples, 1))
    assert sum(len(block) for block in blocks) == samples
    assert all(block.shape[1] == 2 and block.dtype == np.float32 for block in blocks)


def test_an_impact_begins_at_its_sample_and_rings_across_blocks() -> None:
    bare = mixed(score(3.0, ()), [impact(0.95, pan=-1.0)], 3 * SAMPLE_RATE)
    first = int(np.flatnonzero(np.abs(bare).max(axis=1))[0])
    assert abs(first - round(0.95 * SAMPLE_RATE)) <= 2
    assert np.abs(bare[BLOCK : BLOCK + 4410]).max() > 0.01
    early = bare[first : first + 4410]
    assert level(early[:, 0]) > level(early[:, 1]) + 10.0


def test_many_loud_impacts_at_once_do_not_clip() -> None:
    heap = [impact(0.5 + 0.001 * k, material, 1.0) for k, material in enumerate(sorted(BODIES))]
    assert np.abs(mixed(score(2.0), heap, 2 * SAMPLE_RATE)).max() <= 0.9


def test_filters_keep_noise_at_unit_power_and_in_their_band() -> None:
    rng = random_stream(1, "test")
    for colour in (band_pass(1000, 2000), pink_band(1000, 2000)):
        sound = np.concatenate([colour.next(noise(rng, 1.0)) for _ in range(4)], axis=1)
        assert level(sound) == pytest.approx(0.0, abs=0.5)
        power = np.abs(np.fft.rfft(sound[0])) ** 2
        frequency = np.fft.rfftfreq(sound.shape[1], 1 / SAMPLE_RATE)
        inside = power[(frequency > 500) & (frequency < 4000)].sum()
        assert inside > 0.7 * power.sum()


def test_pink_noise_falls_three_decibels_an_octave() -> None:
    rng = random_stream(1, "test")
    colour = pink_band(20, 18_000)
    sound = np.concatenate([colour.next(noise(rng, 1.0)) for _ in range(8)], axis=1)[0]
    power = np.abs(np.fft.rfft(sound)) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    octaves = [power[(frequency >= low) & (frequency < 2 * low)].mean() for low in (200, 400, 800, 1600, 3200)]
    assert np.diff(10 * np.log10(octaves)) == pytest.approx([-3.0] * 4, abs=0.6)


@pytest.mark.parametrize(("width", "correlation"), [(0.0, 1.0), (1.0, 0.0)])
def test_width_sets_how_alike_the_channels_are(width: float, correlation: float) -> None:
    sound = noise(random_stream(1, "test"), width)
    assert np.corrcoef(sound)[0, 1] == pytest.approx(correlation, abs=0.02)


def test_streams_of_layers_and_seeds_differ_and_repeat() -> None:
    draws = {
        (s, n, i): float(random_stream(s, n, i).random()) for s in (0, 1, -1) for n in ("a", "b") for i in (0, 1)
    }
    assert len(set(draws.values())) == len(draws)
    assert random_stream(1, "a").random() == draws[1, "a", 0]


@pytest.mark.parametrize("period", [0.3, 0.9, 2.5])
def test_a_drift_is_smooth_within_zero_and_one_and_across_blocks(period: float) -> None:
    drift = Drift(random_stream(1, "test"), period)
    curve = np.concatenate([drift.next() for _ in range(5)])
    assert curve.min() >= 0.0
    assert curve.max() <= 1.0
    assert np.ptp(curve) > 0.3
    assert np.abs(np.diff(curve)).max() < 2.0 / (period * SAMPLE_RATE)


def test_events_that_overlap_add_up_and_come_back_in_later_blocks() -> None:
    overlap = OverlapAdd()
    overlap.add(BLOCK - 10, np.ones((2, 2 * BLOCK)))
    overlap.add(BLOCK - 5, np.ones((2, 5)))
    blocks = [overlap.take() for _ in range(4)]
    assert [float(block[0].sum()) for block in blocks] == [15.0, BLOCK, BLOCK - 10, 0.0]


@given(pan=st.floats(-1.0, 1.0))
def test_panning_keeps_the_power(pan: float) -> None:
    left, right = pan_stereo(np.ones(1), pan)[:, 0]
    assert left**2 + right**2 == pytest.approx(1.0)
