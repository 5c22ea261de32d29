"""The material the other tests stand on is what it says it is."""

import numpy as np
import pytest

from tests import voice_samples

BACKGROUNDS = (voice_samples.rain, voice_samples.music, voice_samples.impacts, voice_samples.pink)


@pytest.mark.parametrize("voice", voice_samples.VOICES)
def test_every_voice_says_something_of_its_own_and_the_same_each_time(voice):
    said = voice_samples.speak("Good morning to you all.", voice)
    voice_samples._synthesise.cache_clear()
    again = voice_samples.speak("Good morning to you all.", voice)
    assert said.dtype == np.float32
    assert 1.0 < said.size / 48000 < 3.0
    assert np.array_equal(said, again)
    others = [
        voice_samples.speak("Good morning to you all.", other) for other in voice_samples.VOICES if other != voice
    ]
    assert all(not np.array_equal(said, other) for other in others)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_backgrounds_have_the_asked_length_and_depend_on_the_seed_alone(background):
    sound = background(1.37, 16000, 3)
    assert sound.shape == (round(1.37 * 16000),)
    assert np.abs(sound).max() <= 0.95
    assert np.array_equal(sound, background(1.37, 16000, 3))
    assert not np.array_equal(sound, background(1.37, 16000, 4))


@pytest.mark.parametrize("snr", [-5.0, 0.0, 10.0])
def test_a_mix_has_the_asked_ratio_where_the_speech_is_active(snr):
    speech = voice_samples.place(voice_samples.speak("One two three four.", "en-us"), 1.0, 4.0)
    mixed = voice_samples.mix_at(speech, voice_samples.pink(4.0), snr)
    (spoken,) = voice_samples.active_spans(speech, gap=1.0)
    assert 0.99 < spoken.start < 1.05
    heard = slice(round(spoken.start * 48000), round(spoken.end * 48000))
    ratio = np.square(mixed.voice[heard]).mean() / np.square(mixed.background[heard]).mean()
    assert 10 * np.log10(ratio) == pytest.approx(snr, abs=1.0)
    assert np.abs(mixed.mix - mixed.voice - mixed.background).max() < 1e-6
    assert np.abs(mixed.mix).max() <= 0.951
