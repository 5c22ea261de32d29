"""Audio in blocks is read, written, resampled and placed exactly and deterministically."""

import hashlib
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import (
    AudioFormat,
    audio_format,
    place_audio,
    read_blocks,
    read_mono,
    read_span,
    regrouped,
    resampled_blocks,
    write_float_wav,
)
from tests.made_clips import tone

Sound = NDArray[np.float32]


def noise(samples: int, channels: int = 2, seed: int = 0) -> Sound:
    return np.random.default_rng(seed).standard_normal((samples, channels)).astype(np.float32)


def read_all(path: Path) -> Sound:
    return np.concatenate(list(read_blocks(path, 4096)))


def click_times(sound: Sound, rate: int) -> list[float]:
    """Return the times in seconds at which sound begins after silence."""
    loud = np.flatnonzero(np.abs(sound).max(axis=1) > 0.35)
    return [loud[i] / rate for i in range(len(loud)) if i == 0 or loud[i] - loud[i - 1] > rate // 50]


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8, 12])
def test_float_wav_gives_back_every_bit(tmp_path: Path, channels: int) -> None:
    sound = noise(10_001, channels) * 3
    path = tmp_path / "a.wav"
    assert write_float_wav(path, 44_100, channels, np.array_split(sound, 7)) == 10_001
    assert audio_format(path) == AudioFormat(44_100, channels, 10_001)
    assert np.array_equal(read_all(path), sound)


def test_equal_samples_give_equal_bytes_for_any_blocks_at_any_time(tmp_path: Path) -> None:
    sound = noise(5000)
    write_float_wav(tmp_path / "1.wav", 48_000, 2, [sound])
    os.utime(tmp_path / "1.wav", (0, 0))
    write_float_wav(tmp_path / "2.wav", 48_000, 2, np.array_split(sound, 9))
    first, second = (hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("1.wav", "2.wav"))
    assert first == second
    # By default libsndfile writes the time of day to a PEAK chunk, and FFmpeg its version to a LIST chunk.
    head = (tmp_path / "1.wav").read_bytes()[:200]
    assert b"PEAK" not in head
    assert b"LIST" not in head


def test_a_sound_file_may_have_no_samples(tmp_path: Path) -> None:
    assert write_float_wav(tmp_path / "a.wav", 48_000, 2, []) == 0
    assert audio_format(tmp_path / "a.wav").samples == 0


def test_a_block_with_a_different_channel_count_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 channels"):
        write_float_wav(tmp_path / "a.wav", 48_000, 2, [noise(10), noise(10, 1)])
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_leaves_the_old_file_untouched(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_float_wav(path, 48_000, 1, [noise(10, 1)])
    before = path.read_bytes()

    def failing() -> Iterator[Sound]:
        yield noise(100_000, 1)
        raise RuntimeError("the generator broke")

    with pytest.raises(RuntimeError):
        write_float_wav(path, 48_000, 1, failing())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_span_is_cut_at_the_end_of_the_file(tmp_path: Path) -> None:
    sound = noise(1000)
    path = tmp_path / "a.wav"
    write_float_wav(path, 48_000, 2, [sound])
    assert np.array_equal(read_span(path, 100, 250), sound[100:250])
    assert np.array_equal(read_span(path, 900, 2000), sound[900:])
    assert read_span(path, 1000, 1100).shape == (0, 2)
    assert read_span(path, 5000, 6000).shape == (0, 2)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path: path.unlink(missing_ok=True), ErrorCode.SOURCE_MISSING),
        (lambda path: path.touch(), ErrorCode.SOURCE_EMPTY),
        (lambda path: path.write_text("not sound at all"), ErrorCode.SOURCE_NOT_MEDIA),
        (lambda path: path.mkdir(), ErrorCode.SOURCE_NOT_MEDIA),
    ],
)
def test_a_file_that_is_not_audio_is_refused(tmp_path: Path, make, code: ErrorCode) -> None:
    make(tmp_path / "a.wav")
    with pytest.raises(DeepSoundError) as caught:
        audio_format(tmp_path / "a.wav")
    assert caught.value.code is code


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 40))
def test_regrouping_keeps_the_samples_and_gives_blocks_of_equal_size(lengths: list[int], size: int) -> None:
    sound = noise(sum(lengths), 1)
    blocks = np.split(sound, np.cumsum(lengths)[:-1]) if lengths else []
    out = list(regrouped(blocks, size))
    assert all(len(block) == size for block in out[:-1])
    assert all(len(block) for block in out)
    assert np.array_equal(np.concatenate([*out, sound[:0]]), sound)


@given(
    st.sampled_from([(48_000, 16_000), (44_100, 48_000), (16_000, 44_100), (96_000, 48_000), (8_000, 8_000)]),
    st.integers(1, 6000),
    st.integers(1, 3000),
)
def test_resampling_gives_the_exact_length(rates: tuple[int, int], samples: int, size: int) -> None:
    source, target = rates
    out = list(resampled_blocks(regrouped([noise(samples)], size), source, target))
    assert sum(map(len, out)) == round(samples * target / source)


def test_resampling_keeps_phase_and_level(tmp_path: Path) -> None:
    heard = np.concatenate(list(resampled_blocks([tone(440, 1.0, 48_000)], 48_000, 44_100)))
    assert np.abs(heard - tone(440, 1.0, 44_100))[1000:-1000].max() < 1e-4


def test_resampling_does_not_depend_on_the_blocks() -> None:
    sound = noise(20_000)
    one = np.concatenate(list(resampled_blocks([sound], 48_000, 16_000)))
    many = np.concatenate(list(resampled_blocks(np.array_split(sound, 77), 48_000, 16_000)))
    assert np.allclose(one, many, atol=1e-6)


def test_mono_is_the_mean_of_the_channels_in_blocks_of_the_requested_length(tmp_path: Path) -> None:
    sound = np.hstack([tone(440, 2.5), -0.5 * tone(440, 2.5)])
    write_float_wav(tmp_path / "a.wav", 48_000, 2, [sound])
    blocks = list(read_mono(tmp_path / "a.wav", 16_000, 1.0))
    assert [block.shape for block in blocks] == [(16_000,), (16_000,), (8_000,)]
    expected = 0.25 * tone(440, 2.5, 16_000)[:, 0]
    assert np.abs(np.concatenate(blocks) - expected)[500:-500].max() < 1e-3


def test_memory_does_not_grow_with_the_length_of_the_sound(tmp_path: Path) -> None:
    def peak_of(seconds: int) -> int:
        path = tmp_path / f"{seconds}.wav"
        second = noise(8_000, 1)
        tracemalloc.start()
        write_float_wav(path, 8_000, 1, (second for _ in range(seconds)))
        for _ in read_mono(path, 16_000, 1.0):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_of(600) < peak_of(20) + 1_000_000


# --- placing -----------------------------------------------------------------------------------------------


@st.composite
def pieces(draw: st.DrawFn) -> list[tuple[int | None, Sound]]:
    count = draw(st.integers(0, 8))
    return [
        (draw(st.none() | st.integers(-60, 260)), np.full((draw(st.integers(0, 60)), 1), index + 1, np.float32))
        for index in range(count)
    ]


@given(pieces(), st.integers(0, 200), st.integers(0, 5))
def test_placed_audio_has_the_requested_length_and_keeps_the_pieces_in_order(
    given_pieces: list[tuple[int | None, Sound]], samples: int, slack: int
) -> None:
    out = np.concatenate([*place_audio(given_pieces, samples, 1, slack), np.zeros((0, 1), np.float32)])
    assert out.shape == (samples, 1)
    heard = [value for value in dict.fromkeys(out[:, 0]) if value]
    assert heard == sorted(heard), "pieces keep their order"


def test_a_piece_is_placed_at_its_sample() -> None:
    out = np.concatenate(list(place_audio([(3, np.ones((2, 1), np.float32))], 8, 1, 0)))
    assert out[:, 0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


def test_times_rounded_by_a_container_leave_no_gaps_and_real_gaps_are_silent() -> None:
    one = np.ones((4, 1), np.float32)
    out = np.concatenate(list(place_audio([(0, one), (5, one), (7, one), (20, one)], 24, 1, slack=1)))
    assert out[:, 0].tolist() == [1] * 12 + [0] * 8 + [1] * 4


def test_libsndfile_reads_written_files_as_float(tmp_path: Path) -> None:
    write_float_wav(tmp_path / "a.wav", 48_000, 2, [noise(100)])
    assert soundfile.info(tmp_path / "a.wav").subtype == "FLOAT"
