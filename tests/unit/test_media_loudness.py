"""Loudness and true peak of signals with known values, and normalisation to each loudness standard."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deepsound.media.audio import audio_format, read_blocks, write_float_wav
from deepsound.media.loudness import measure_loudness, normalise
from deepsound.media.loudness_standards import STANDARDS, LoudnessStandard, LoudnessTarget
from tests.made_clips import tone

Sound = NDArray[np.float32]

R128 = STANDARDS[LoudnessTarget.EBU_R128]


def stored(path: Path, sound: NDArray[np.floating], rate: int = 48_000) -> Path:
    write_float_wav(path, rate, sound.shape[1], [sound.astype(np.float32)])
    return path


def read_all(path: Path) -> Sound:
    return np.concatenate(list(read_blocks(path, 1 << 16)))


def noise(seconds: float, channels: int = 2, level: float = 0.05, rate: int = 48_000) -> NDArray[np.float64]:
    return level * np.random.default_rng(1).standard_normal((round(seconds * rate), channels))


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("lufs", [-23.0, -33.0])
def test_the_reference_tones_of_ebu_tech_3341_measure_as_specified(tmp_path: Path, rate: int, lufs: float) -> None:
    # Cases 1 and 2 of EBU Tech 3341: a stereo 1 kHz sine with a peak of n dBFS measures n LUFS.
    sine = tone(1000, 20.0, rate, level=10 ** (lufs / 20), channels=2)
    assert measure_loudness(stored(tmp_path / "a.wav", sine, rate)).integrated_lufs == pytest.approx(lufs, abs=0.1)


def test_quiet_parts_are_gated_out(tmp_path: Path) -> None:
    # Case 3: -36, -23 and -36 dBFS for 10, 60 and 10 s measure -23 LUFS; here at a quarter of the length.
    parts = [tone(1000, s, level=10 ** (db / 20), channels=2) for s, db in ((2.5, -36), (15, -23), (2.5, -36))]
    loudness = measure_loudness(stored(tmp_path / "a.wav", np.concatenate(parts)))
    assert loudness.integrated_lufs == pytest.approx(-23.0, abs=0.1)


def test_a_peak_between_samples_is_measured(tmp_path: Path) -> None:
    # As in case 16 of EBU Tech 3341: a quarter of the sampling rate, sampled 45 degrees off its maxima.
    phase = np.pi * np.arange(48_000) / 2 + np.pi / 4
    sound = (0.5 * np.sin(phase) * np.hanning(48_000))[:, None]
    assert np.abs(sound).max() == pytest.approx(0.3536, abs=0.001)
    peak = measure_loudness(stored(tmp_path / "a.wav", sound)).true_peak_dbtp
    assert peak is not None
    assert -6.4 < peak < -5.8


def test_silence_has_neither_loudness_nor_peak(tmp_path: Path) -> None:
    loudness = measure_loudness(stored(tmp_path / "a.wav", np.zeros((48_000, 2))))
    assert (loudness.integrated_lufs, loudness.true_peak_dbtp) == (None, None)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.1, 0.39])
def test_sound_too_short_for_a_gating_block_has_no_loudness(tmp_path: Path, seconds: float) -> None:
    loudness = measure_loudness(stored(tmp_path / "a.wav", tone(1000, seconds, channels=2)))
    assert loudness.integrated_lufs is None
    if seconds:
        assert loudness.true_peak_dbtp == pytest.approx(-12.0, abs=0.3)


def test_a_peak_in_the_very_last_sample_counts(tmp_path: Path) -> None:
    sound = noise(1.03, level=0.001)
    sound[-1] = 0.9
    peak = measure_loudness(stored(tmp_path / "a.wav", sound)).true_peak_dbtp
    assert peak is not None
    assert peak >= 20 * np.log10(0.9) - 0.01


def spiky(channels: int = 2) -> NDArray[np.float64]:
    """Return impacts over quiet noise, each with a sharp peak."""
    sound = noise(8, channels, 0.003)
    for begin in range(500, len(sound), 24_000):
        sound[begin : begin + 2400] += noise(0.05, channels, 0.08)
        sound[begin + 1200 : begin + 1204] = 0.99
    return sound


@pytest.mark.parametrize("standard", STANDARDS.values(), ids=STANDARDS)
@pytest.mark.parametrize(
    ("make", "limited"),
    [
        (lambda: tone(440, 5.0, level=0.7, channels=2), False),
        (lambda: noise(5, 1, 0.0005), False),
        (lambda: noise(5, 6, 0.1), False),
        (spiky, True),
        (lambda: np.vstack([noise(6, 2, 0.01), np.full((8, 2), 0.99)]), True),
    ],
    ids=["loud", "quiet", "surround", "impacts", "one spike over quiet noise"],
)
def test_normalised_sound_meets_the_standard_at_the_same_length(
    tmp_path: Path, make, limited: bool, standard: LoudnessStandard
) -> None:
    sound = make()
    source, target = stored(tmp_path / "a.wav", sound), tmp_path / "b.wav"
    result = normalise(source, target, standard)
    again = measure_loudness(target)
    assert result.after == again
    assert again.integrated_lufs == pytest.approx(standard.lufs, abs=0.2)
    assert again.true_peak_dbtp is not None
    assert again.true_peak_dbtp <= standard.true_peak_dbtp
    assert result.limited is limited
    assert result.after.meets(standard)
    assert audio_format(target) == audio_format(source)


def test_the_standards_have_the_values_that_their_publishers_state() -> None:
    assert {
        LoudnessTarget.EBU_R128: LoudnessStandard(lufs=-23.0, tolerance_lu=0.2, true_peak_dbtp=-1.0),
        LoudnessTarget.ATSC_A85: LoudnessStandard(lufs=-24.0, tolerance_lu=2.0, true_peak_dbtp=-2.0),
    } == STANDARDS
    assert {*LoudnessTarget} == {*STANDARDS, LoudnessTarget.NONE}


@pytest.mark.parametrize("standard", STANDARDS.values(), ids=STANDARDS)
def test_a_standard_allows_its_tolerance_and_no_more(standard: LoudnessStandard) -> None:
    assert standard.is_met_by(standard.lufs + 0.99 * standard.tolerance_lu, standard.true_peak_dbtp)
    assert standard.is_met_by(standard.lufs, None)
    assert not standard.is_met_by(standard.lufs - 1.01 * standard.tolerance_lu, -20.0)
    assert not standard.is_met_by(standard.lufs, standard.true_peak_dbtp + 0.01)
    assert not standard.is_met_by(None, None)


def test_without_limiting_every_sample_gets_the_same_gain(tmp_path: Path) -> None:
    sound = noise(3)
    result = normalise(stored(tmp_path / "a.wav", sound), tmp_path / "b.wav", R128)
    assert not result.limited
    expected = sound.astype(np.float32) * np.float32(10 ** (result.gain_db / 20))
    assert np.abs(read_all(tmp_path / "b.wav") - expected).max() < 1e-6


def test_limiting_adds_no_delay(tmp_path: Path) -> None:
    sound = spiky(1)
    result = normalise(stored(tmp_path / "a.wav", sound), tmp_path / "b.wav", R128)
    assert result.limited
    heard = read_all(tmp_path / "b.wav")[:, 0]
    spectrum = np.fft.rfft(heard, 2 * len(heard)) * np.conj(np.fft.rfft(sound[:, 0], 2 * len(heard)))
    assert int(np.argmax(np.fft.irfft(spectrum))) == 0


def test_normalising_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = stored(tmp_path / "a.wav", spiky())
    normalise(source, tmp_path / "1.wav", R128)
    normalise(source, tmp_path / "2.wav", R128)
    assert (tmp_path / "1.wav").read_bytes() == (tmp_path / "2.wav").read_bytes()


def test_digital_silence_stays_silent(tmp_path: Path) -> None:
    result = normalise(stored(tmp_path / "a.wav", np.zeros((48_000, 2))), tmp_path / "b.wav", R128)
    assert not read_all(tmp_path / "b.wav").any()
    assert result.gain_db == 0
    assert result.after.integrated_lufs is None


def test_silent_parts_stay_silent_when_the_rest_is_raised(tmp_path: Path) -> None:
    sound = noise(4, 2, 0.001)
    sound[48_000:96_000] = 0
    normalise(stored(tmp_path / "a.wav", sound), tmp_path / "b.wav", R128)
    assert not read_all(tmp_path / "b.wav")[48_000:96_000].any()


def test_sound_too_short_to_measure_keeps_its_level_unless_its_peak_exceeds_the_limit(tmp_path: Path) -> None:
    quiet = normalise(stored(tmp_path / "a.wav", tone(1000, 0.2)), tmp_path / "b.wav", R128)
    assert np.array_equal(read_all(tmp_path / "b.wav"), tone(1000, 0.2))
    assert not quiet.limited
    loud = normalise(stored(tmp_path / "c.wav", tone(1000, 0.2, level=1.0)), tmp_path / "d.wav", R128)
    assert loud.after.true_peak_dbtp is not None
    assert loud.after.true_peak_dbtp <= R128.true_peak_dbtp


def test_a_single_click_keeps_its_peak_and_is_reported_as_off_target(tmp_path: Path) -> None:
    click = np.zeros((480_000, 1))
    click[100_000:100_048] = 0.9
    result = normalise(stored(tmp_path / "a.wav", click), tmp_path / "b.wav", R128)
    assert result.after.true_peak_dbtp is not None
    assert result.after.true_peak_dbtp <= R128.true_peak_dbtp
    assert not result.after.meets(R128)


def test_a_file_can_be_normalised_in_place(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.wav", noise(2))
    normalise(path, path, R128)
    assert measure_loudness(path).integrated_lufs == pytest.approx(R128.lufs, abs=0.2)
