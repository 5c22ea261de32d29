"""When a sound counts as silence: the reference's rule, and the one place where we differ from it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.silence import QUIET_DBFS, Silence, measure_silence

RATE = 16_000


def measured(folder: Path, sound: NDArray[np.floating], rate: int = RATE) -> Silence:
    path = folder / "sound.wav"
    soundfile.write(path, sound.astype(np.float32), rate, subtype="FLOAT")
    return measure_silence(path)


def noise(seconds: float, dbfs: float, channels: int = 1) -> NDArray[np.float64]:
    samples = np.random.default_rng(1).standard_normal((round(seconds * RATE), channels))
    return samples * 10 ** (dbfs / 20) / np.sqrt(np.mean(samples**2))


def reference_share(sound: NDArray[np.floating]) -> float:
    """The reference's share of quiet frames, written out frame by frame for one channel."""
    padded = np.pad(sound.astype(np.float32).astype(np.float64), 1024)
    levels = [np.sqrt(np.mean(padded[at : at + 2048] ** 2)) for at in range(0, len(padded) - 2047, 512)]
    return float(np.mean([20 * np.log10(max(level, 1e-12)) < QUIET_DBFS for level in levels]))


def test_sound_is_not_silence(tmp_path):
    assert measured(tmp_path, noise(1.0, -30.0)) == Silence(0.0)


def test_the_gate_is_fifty_decibels_below_full_scale(tmp_path):
    assert measured(tmp_path, noise(2.0, -52.0)).is_silent
    assert not measured(tmp_path, noise(2.0, -48.0)).is_silent


def test_stereo_in_opposite_phase_is_not_silence(tmp_path):
    one = noise(1.0, -30.0)
    assert measured(tmp_path, np.concatenate([one, -one], axis=1)) == Silence(0.0)


def test_digital_silence_and_audio_without_samples_are_silent(tmp_path):
    assert measured(tmp_path, np.zeros((RATE, 2))) == Silence(1.0)
    assert measured(tmp_path, np.zeros((0, 1))).is_silent


@pytest.mark.parametrize(("sounding", "silent"), [(0.05, True), (0.2, False)])
def test_sound_in_less_than_a_tenth_of_the_time_does_not_count(tmp_path, sounding, silent):
    sound = np.zeros((10 * RATE, 1))
    loud = noise(10 * sounding, -10.0)
    sound[: len(loud)] = loud
    assert measured(tmp_path, sound).is_silent is silent


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.integers(1, 9000),
    levels=st.lists(st.floats(-80.0, 0.0), min_size=1, max_size=6),
    channels=st.sampled_from([1, 2, 6]),
)
def test_a_mono_sound_measures_as_in_the_reference_on_any_number_of_equal_channels(
    tmp_path, samples, levels, channels
):
    gains = np.repeat(10 ** (np.array(levels) / 20), -(-samples // len(levels)))[:samples]
    sound = np.random.default_rng(samples).standard_normal(samples) * gains
    share = measured(tmp_path, np.repeat(sound[:, None], channels, axis=1)).quiet_share
    assert share == pytest.approx(reference_share(sound), abs=1e-9)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(softer=st.floats(0.0, 60.0), seed=st.integers(0, 9))
def test_turning_a_sound_down_never_makes_it_less_silent(tmp_path, softer, seed):
    rng = np.random.default_rng(seed)
    sound = rng.standard_normal(RATE) * 10 ** (rng.uniform(-4, 0, RATE // 1000).repeat(1000))
    before = measured(tmp_path, sound).quiet_share
    assert measured(tmp_path, sound * 10 ** (-softer / 20)).quiet_share >= before


def test_a_long_sound_measures_as_its_frames_do_wherever_it_is_cut_into_blocks(tmp_path):
    sound = np.concatenate([noise(20.0, -30.0), noise(20.0, -70.0)])[:, 0]
    assert measured(tmp_path, sound).quiet_share == pytest.approx(reference_share(sound), abs=1e-9)


def test_a_file_that_is_no_sound_is_named(tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("no sound")
    with pytest.raises(DeepSoundError) as caught:
        measure_silence(path)
    assert caught.value.code is ErrorCode.SOURCE_NOT_MEDIA
    assert str(path) in str(caught.value)
