"""The soundtrack generator: a file's own audio as coarse audio."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from deepsound.backends import load_generator
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.generation.protocol import GenerationRequest, GenerationResult
from deepsound.generation.soundtrack import Soundtrack
from deepsound.media.decode import decode_video
from tests.made_clips import clicks, tone, write_clip
from tests.voiced_clips import silent_clip


def own_sound(clip: Path, prompt: str = "", seed: int = 1) -> tuple[GenerationResult, NDArray[np.float64]]:
    target = clip.with_suffix(".wav")
    footage = decode_video(clip, Soundtrack().observers())
    made = Soundtrack().generate(GenerationRequest(clip, footage, prompt, "", seed), target)
    sound, rate = soundfile.read(target, always_2d=True)
    assert (rate, sound.shape) == (made.sample_rate, (made.samples, made.channels))
    return made, sound


def test_the_coarse_audio_is_the_track_at_its_own_rate_and_channels(tmp_path: Path) -> None:
    sound = clicks([0.25, 0.75], 1.0, rate=32_000, channels=2)
    clip = write_clip(tmp_path / "clip.mov", audio=sound, audio_rate=32_000, audio_codec="pcm_s16le")
    made, coarse = own_sound(clip)
    assert (made.sample_rate, made.channels, made.samples) == (32_000, 2, 32_000)
    np.testing.assert_allclose(coarse, sound, atol=1e-4)
    assert made.notes["damaged_packets"] == 0


def test_it_is_as_long_as_the_picture_and_aligned_with_it(tmp_path: Path) -> None:
    late = tone(440, 0.5)
    clip = write_clip(tmp_path / "late.mkv", seconds=2.0, audio=late, audio_start=0.5, audio_codec="pcm_s16le")
    made, coarse = own_sound(clip)
    assert made.samples == 2 * 48_000
    assert np.all(coarse[: round(0.49 * 48_000)] == 0)
    assert np.abs(coarse[round(0.51 * 48_000) : round(0.9 * 48_000)]).max() > 0.2
    assert np.all(coarse[round(1.1 * 48_000) :] == 0)


def test_prompt_and_seed_change_nothing(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mov", audio=tone(440, 1.0), audio_codec="pcm_s16le")
    _, plain = own_sound(clip)
    _, prompted = own_sound(clip, prompt="rain", seed=99)
    np.testing.assert_array_equal(plain, prompted)


def test_digital_silence_is_a_valid_track(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "mute.mov", audio=np.zeros(48_000), audio_codec="pcm_s16le")
    made, coarse = own_sound(clip)
    assert made.samples == 48_000
    assert not coarse.any()


def test_a_file_without_audio_is_an_error_that_names_foley_and_leaves_no_file(tmp_path: Path) -> None:
    clip = silent_clip(tmp_path / "silent.mp4")
    with pytest.raises(DeepSoundError) as caught:
        own_sound(clip)
    assert caught.value.code is ErrorCode.NO_AUDIO_STREAM
    assert "silent.mp4" in caught.value.where
    assert "foley" in caught.value.remedy
    assert list(tmp_path.iterdir()) == [clip]


def test_its_fallback_generator_exists_and_regenerates_by_itself() -> None:
    assert Soundtrack.regenerates_with is not None
    assert load_generator(Soundtrack.regenerates_with).regenerates_with is None
