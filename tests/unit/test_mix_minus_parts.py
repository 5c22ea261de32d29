"""The parts of mix minus: windows over a stream, and checkpoints from which only arrays are read."""

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.separation.mix_minus.deep_filter import remove_speech
from deepsound.separation.mix_minus.overlap_add import process_in_windows, trim
from deepsound.separation.mix_minus.spleeter import voice_in_music
from deepsound.separation.mix_minus.spleeter_unet import Spleeter
from tests import voice_samples

RATE = 48_000

lengths = st.lists(st.integers(0, 40), max_size=12)


def stream(sizes: list[int]) -> list[np.ndarray]:
    whole = np.arange(2 * sum(sizes), dtype=np.float32).reshape(-1, 2)
    return np.split(whole, np.cumsum(sizes)[:-1]) if sizes else []


def joined(blocks) -> np.ndarray:
    return np.concatenate([np.zeros((0, 2), np.float32), *blocks])


@given(sizes=lengths, start=st.integers(0, 200), samples=st.integers(0, 200))
def test_a_stretch_of_a_stream_is_that_slice_of_it(sizes, start, samples):
    blocks = stream(sizes)
    assert np.array_equal(joined(trim(blocks, start, samples)), joined(blocks)[start : start + samples])


@given(sizes=lengths, hop=st.integers(1, 50), overlap=st.integers(0, 50), fade=st.integers(0, 50))
def test_windows_that_are_left_alone_add_up_to_the_stream(sizes, hop, overlap, fade):
    context = min(overlap, hop)
    blocks = stream(sizes)
    done = joined(
        process_in_windows(blocks, lambda window: window, hop=hop, context=context, fade=min(fade, context))
    )
    np.testing.assert_allclose(done, joined(blocks), rtol=1e-6)


def test_a_window_sees_its_neighbours_and_no_seam_is_heard():
    sound = np.ones((1000, 1), np.float32)
    seen: list[int] = []

    def louder_each_time(window):
        seen.append(len(window))
        return window * len(seen)

    done = np.concatenate(list(process_in_windows([sound], louder_each_time, hop=400, context=100, fade=100)))[
        :, 0
    ]
    assert seen == [500, 600, 300]
    assert set(done[:400]) == {1.0}
    assert set(done[500:800]) == {2.0}
    assert np.abs(np.diff(done)).max() <= 0.011


def test_what_deepfilternet_leaves_does_not_depend_on_how_the_sound_arrives():
    sizes = [1, 479, 480, 481, 20_000, RATE - 21_441]
    sound = voice_samples.place(voice_samples.speak("The ice breaks."), 0.1, 1.0)[:, None]
    pairs = np.concatenate((sound, sound), axis=1)
    whole = np.concatenate(list(remove_speech([pairs], RATE, 1)))
    arriving = np.split(pairs, np.cumsum(sizes)[:-1])
    assert np.array_equal(np.concatenate(list(remove_speech(arriving, RATE, 1))), whole)
    assert np.array_equal(whole[:, :1], sound)


def seconds_of_rain(seconds: int):
    second = np.repeat(voice_samples.rain(1.0)[:, None], 2, axis=1)
    return (second for _ in range(seconds))


def peak_memory(blocks: Iterator[np.ndarray]) -> int:
    tracemalloc.start()
    for _ in blocks:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_deepfilternet_holds_seconds_of_a_sound_however_long_it_is():
    def heard_twice(seconds: int) -> Iterator[np.ndarray]:
        samples = seconds * RATE
        return remove_speech(remove_speech(seconds_of_rain(seconds), samples, 1), samples, 1)

    assert peak_memory(heard_twice(6)) < 1.1 * peak_memory(heard_twice(3))


def test_windows_hold_a_window_of_a_sound_however_long_it_is():
    def windowed(seconds: int) -> Iterator[np.ndarray]:
        return process_in_windows(seconds_of_rain(seconds), np.copy, hop=4 * RATE, context=RATE, fade=RATE)

    assert peak_memory(windowed(600)) < 1.1 * peak_memory(windowed(60))


def test_deepfilternets_lateness_is_taken_out():
    speech = voice_samples.place(voice_samples.speak("The ice breaks."), 0.1, 1.0)[:, None]
    pairs = np.concatenate((speech, speech), axis=1)
    mix, left = np.concatenate(list(remove_speech([pairs], len(speech), 1))).T
    taken = mix - left
    shifts = range(-5, 6)
    likeness = [float(np.dot(np.roll(taken, shift), speech[:, 0])) for shift in shifts]
    assert shifts[int(np.argmax(likeness))] == 0


def test_spleeter_hears_the_same_wherever_its_window_begins():
    seconds = 6
    speech = voice_samples.place(voice_samples.speak(), 0.0, seconds)
    mix = voice_samples.mix_at(speech, voice_samples.music(seconds), 5.0).mix[:, None]
    whole, later = voice_in_music(mix, RATE), voice_in_music(mix[2 * RATE :], RATE)
    # Beyond the context that windows share, the two differ by less than a tenth of the voice.
    common = whole[4 * RATE :]
    assert np.linalg.norm(later[2 * RATE :] - common) < 0.1 * np.linalg.norm(common)


class _Trap:
    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self):
        return os.mkdir, (str(self.sprung),)


def test_a_checkpoint_that_would_run_code_is_refused_unrun(tmp_path):
    path, sprung = tmp_path / "voice.ckpt", tmp_path / "sprung"
    torch.save({"down1_conv.1.weight": _Trap(sprung)}, path)
    with pytest.raises(DeepSoundError) as caught:
        Spleeter(path, path)
    assert caught.value.code is ErrorCode.MODEL_FAILED
    assert str(path) in str(caught.value)
    assert not sprung.exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "voice.ckpt"
    if content is None:
        torch.save({"down1_conv.1.weight": np.zeros(3, np.float32)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(DeepSoundError) as caught:
        Spleeter(path, path)
    assert caught.value.code is ErrorCode.MODEL_FAILED
    assert str(path) in str(caught.value)
