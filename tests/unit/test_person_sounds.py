"""Long voices with and without words: what the detectors together take for people, and what for something else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fit_person_sounds import RATE, Example, calibrated, fitted, made
from deepsound.detection.loudness_modulation import BANDS, HOP, SAMPLE_RATE, LevelStream, modulations
from deepsound.detection.person_sounds import (
    COEFFICIENTS,
    FEATURES,
    PERSON_SOUND_RULE,
    WINDOW,
    DetectorTracks,
    find_person_sounds,
    log_odds,
    window_features,
)
from deepsound.detection.silero_vad import SLOWDOWN, SlowedSileroStream
from deepsound.detection.speech_activity import measure_speech
from deepsound.media.audio import write_float_wav
from tests import voice_samples

SECONDS = 6.0
CROWD = ("en-us", "en-gb+f3", "de+m7", "fr+f2", "es+m3", "it+f4", "pl+m1", "sv+f5")
SENTENCE = "The river rose in the night, and by morning the bridge was gone."


def heard(probability=0.9, start=1.5, seconds=3.0, duration=SECONDS):
    """Every detector hears the same from `start` on, over a murmur that rises and falls four times a second."""

    def track(per_second: float) -> np.ndarray:
        time = np.arange(round(duration * per_second)) / per_second
        inside = (time >= start) & (time < start + seconds)
        return np.where(inside, probability, 0.01).astype(np.float32)

    time = np.arange(round(duration * SAMPLE_RATE / HOP)) * HOP / SAMPLE_RATE
    levels = np.repeat(np.sin(2 * np.pi * 4 * time)[:, None], BANDS, axis=1).astype(np.float32)
    events = np.stack([track(100), track(100), np.zeros(round(duration * 100), np.float32)], axis=1)
    return DetectorTracks(duration, track(31.25), track(39.0625), events, track(100), levels)


def measured(sound: np.ndarray, folder) -> DetectorTracks:
    path = folder / "sound.wav"
    write_float_wav(path, RATE, 1, [sound.astype(np.float32)[:, np.newaxis]])
    return measure_speech(path)[0]


def test_what_every_detector_hears_is_people_where_it_is_heard():
    (people,) = find_person_sounds(heard())
    assert people.span.start == pytest.approx(1.5, abs=WINDOW / 2)
    assert people.span.end == pytest.approx(4.5, abs=WINDOW / 2)
    assert people.probability > 0.9


def test_what_no_detector_hears_is_nobody():
    assert find_person_sounds(heard(probability=0.01)) == ()


def test_what_one_detector_hears_alone_is_nobody():
    sure = heard()
    alone = replace(heard(probability=0.01), events=sure.events)
    assert find_person_sounds(alone) == ()


def test_a_swelling_noise_is_less_of_a_crowd_than_one_that_babbles():
    babble = heard(probability=0.3, start=0.0, seconds=SECONDS)
    time = np.arange(len(babble.levels)) * HOP / SAMPLE_RATE
    swell = replace(babble, levels=np.repeat(3 * np.sin(2 * np.pi * time)[:, None], BANDS, axis=1))
    assert log_odds(window_features(swell)).max() < log_odds(window_features(babble)).min()


@pytest.mark.parametrize("seconds", [0.0, 0.3, PERSON_SOUND_RULE.min_length - 0.05])
def test_a_sound_shorter_than_a_second_holds_no_long_voice(seconds):
    assert find_person_sounds(heard(start=0.0, duration=seconds)) == ()


def test_a_sound_shorter_than_a_window_is_one_window():
    short = heard(start=0.0, seconds=1.5, duration=1.5)
    assert window_features(short).shape == (1, len(FEATURES))
    (people,) = find_person_sounds(short)
    assert people.span.duration == pytest.approx(1.5)


def test_a_crowd_over_rain_is_people_and_the_rain_alone_is_not(tmp_path):
    people = sum(
        np.roll(voice_samples.speak(SENTENCE, voice)[:120_000], 17_000 * i) for i, voice in enumerate(CROWD)
    )
    crowd = voice_samples.mix_at(voice_samples.place(people, 0.5, 4.0), voice_samples.rain(4.0), 0.0).mix
    assert find_person_sounds(measured(crowd, tmp_path))
    assert find_person_sounds(measured(voice_samples.rain(4.0), tmp_path)) == ()


def test_silence_holds_nobody(tmp_path):
    assert find_person_sounds(measured(np.zeros(4 * RATE), tmp_path)) == ()


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=6), st.integers(0, 2**16))
def test_blocks_do_not_matter_to_levels(sizes, seed):
    sound = np.random.default_rng(seed).standard_normal(sum(sizes)).astype(np.float32)
    whole, pieces = LevelStream(), LevelStream()
    rows = [pieces.process(part) for part in np.split(sound, np.cumsum(sizes)[:-1])]
    expected = np.concatenate((whole.process(sound), whole.finish()))
    assert np.allclose(np.concatenate((*rows, pieces.finish())), expected, atol=1e-5)
    assert len(expected) == pytest.approx(len(sound) / HOP, abs=1)


def test_blocks_do_not_matter_to_the_slowed_detector():
    sound = voice_samples.speak(SENTENCE, rate=SAMPLE_RATE)
    whole, pieces = SlowedSileroStream(), SlowedSileroStream()
    rows = [pieces.process(part) for part in np.split(sound, [1, 5000, 5001, 30_000])]
    expected = np.concatenate((whole.process(sound), whole.finish()))
    assert np.concatenate((*rows, pieces.finish())) == pytest.approx(expected, abs=1e-5)
    assert len(expected) == pytest.approx(len(sound) * SLOWDOWN / 512, abs=1)


@pytest.mark.parametrize(("rate", "band"), [(1.0, 0), (4.0, 1), (15.0, 2)])
def test_modulations_say_how_fast_and_how_much_levels_move(rate, band):
    time = np.arange(100) * HOP / SAMPLE_RATE
    levels = np.repeat(np.sqrt(2) * np.sin(2 * np.pi * rate * time)[:, None], BANDS, axis=1)
    (found,) = modulations(levels[None].astype(np.float32))
    assert found.argmax() == band
    assert np.exp(found[band]) == pytest.approx(1.0, abs=0.1)


def test_every_feature_has_its_coefficients():
    assert {len(weights) for weights in COEFFICIENTS.values()} == {len(FEATURES) + 1}


def test_the_fit_tells_apart_what_can_be_told_apart_and_is_calibrated():
    rng = np.random.default_rng(0)
    kinds = {"bed": -2.0, "narration": 2.0, "crowd": 2.0}
    examples = [
        Example(kind, middle + rng.standard_normal((3, len(FEATURES)))) for kind, middle in kinds.items()
    ] * 20
    one, many = fitted(examples)
    for example in examples:
        odds = np.logaddexp(*(example.rows @ weights[:-1] + weights[-1] for weights in (one, many)))
        assert np.all((odds > 0) == (example.kind != "bed"))
    assert calibrated(examples, np.full(len(examples), 7.0)) == pytest.approx(-7.0 + np.log(0.4 / 0.6))


def test_the_sounds_of_the_fit_are_the_same_every_time():
    first, again = made(3), made(3)
    assert first.kind == "narration"
    assert np.array_equal(first.rows, again.rows)
