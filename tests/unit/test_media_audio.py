"""Sound in blocks: exact, deterministic, in step with the picture."""

import hashlib
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import av
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
from deepsound.media.extract_audio import extract_audio
from deepsound.media.probe import probe
from tests.made_clips import clicks, edit_list, scratch, tone, write_clip

Sound = NDArray[np.float32]


def noise(samples: int, channels: int = 2, seed: int = 0) -> Sound:
    return np.random.default_rng(seed).standard_normal((samples, channels)).astype(np.float32)


def whole(path: Path) -> Sound:
    return np.concatenate(list(read_blocks(path, 4096)))


def click_times(sound: Sound, rate: int) -> list[float]:
    """Where sound rises out of silence, in seconds."""
    loud = np.flatnonzero(np.abs(sound).max(axis=1) > 0.35)
    return [loud[i] / rate for i in range(len(loud)) if i == 0 or loud[i] - loud[i - 1] > rate // 50]


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8, 12])
def test_float_wav_gives_back_every_bit(tmp_path: Path, channels: int) -> None:
    sound = noise(10_001, channels) * 3
    path = tmp_path / "a.wav"
    assert write_float_wav(path, 44_100, channels, np.array_split(sound, 7)) == 10_001
    assert audio_format(path) == AudioFormat(44_100, channels, 10_001)
    assert np.array_equal(whole(path), sound)


def test_equal_samples_give_equal_bytes_whatever_the_blocks_and_the_hour(tmp_path: Path) -> None:
    sound = noise(5000)
    write_float_wav(tmp_path / "1.wav", 48_000, 2, [sound])
    os.utime(tmp_path / "1.wav", (0, 0))
    write_float_wav(tmp_path / "2.wav", 48_000, 2, np.array_split(sound, 9))
    first, second = (hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("1.wav", "2.wav"))
    assert first == second
    # libsndfile would have put the time of day into a PEAK chunk, FFmpeg its version into a LIST chunk.
    head = (tmp_path / "1.wav").read_bytes()[:200]
    assert b"PEAK" not in head
    assert b"LIST" not in head


def test_a_sound_of_no_samples_is_a_file(tmp_path: Path) -> None:
    assert write_float_wav(tmp_path / "a.wav", 48_000, 2, []) == 0
    assert audio_format(tmp_path / "a.wav").samples == 0


def test_a_block_of_other_channels_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 channels"):
        write_float_wav(tmp_path / "a.wav", 48_000, 2, [noise(10), noise(10, 1)])
    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_leaves_the_old_file_untouched(tmp_path: Path) -> None:
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


def test_a_span_is_read_where_it_is_and_cut_at_the_ends(tmp_path: Path) -> None:
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
def test_what_is_no_sound_file_is_refused(tmp_path: Path, make, code: ErrorCode) -> None:
    make(tmp_path / "a.wav")
    with pytest.raises(DeepSoundError) as caught:
        audio_format(tmp_path / "a.wav")
    assert caught.value.code is code


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 40))
def test_regrouping_keeps_the_samples_and_gives_even_blocks(lengths: list[int], size: int) -> None:
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
def test_resampling_keeps_the_length_to_the_sample(rates: tuple[int, int], samples: int, size: int) -> None:
    source, target = rates
    out = list(resampled_blocks(regrouped([noise(samples)], size), source, target))
    assert sum(map(len, out)) == round(samples * target / source)


def test_resampling_keeps_step_and_level(tmp_path: Path) -> None:
    heard = np.concatenate(list(resampled_blocks([tone(440, 1.0, 48_000)], 48_000, 44_100)))
    assert np.abs(heard - tone(440, 1.0, 44_100))[1000:-1000].max() < 1e-4


def test_resampling_does_not_depend_on_the_blocks() -> None:
    sound = noise(20_000)
    one = np.concatenate(list(resampled_blocks([sound], 48_000, 16_000)))
    many = np.concatenate(list(resampled_blocks(np.array_split(sound, 77), 48_000, 16_000)))
    assert np.allclose(one, many, atol=1e-6)


def test_mono_is_the_mean_of_the_channels_in_blocks_of_the_asked_length(tmp_path: Path) -> None:
    sound = np.hstack([tone(440, 2.5), -0.5 * tone(440, 2.5)])
    write_float_wav(tmp_path / "a.wav", 48_000, 2, [sound])
    blocks = list(read_mono(tmp_path / "a.wav", 16_000, 1.0))
    assert [block.shape for block in blocks] == [(16_000,), (16_000,), (8_000,)]
    expected = 0.25 * tone(440, 2.5, 16_000)[:, 0]
    assert np.abs(np.concatenate(blocks) - expected)[500:-500].max() < 1e-3


def test_an_hour_of_sound_needs_no_more_memory_than_a_minute(tmp_path: Path) -> None:
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
def test_placed_sound_is_as_long_as_asked_and_made_of_the_pieces(
    given_pieces: list[tuple[int | None, Sound]], samples: int, slack: int
) -> None:
    out = np.concatenate([*place_audio(given_pieces, samples, 1, slack), np.zeros((0, 1), np.float32)])
    assert out.shape == (samples, 1)
    heard = [value for value in dict.fromkeys(out[:, 0]) if value]
    assert heard == sorted(heard), "pieces keep their order"


def test_a_piece_is_placed_at_its_sample() -> None:
    out = np.concatenate(list(place_audio([(3, np.ones((2, 1), np.float32))], 8, 1, 0)))
    assert out[:, 0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


def test_times_rounded_by_a_container_make_no_gaps_but_real_gaps_are_silent() -> None:
    one = np.ones((4, 1), np.float32)
    out = np.concatenate(list(place_audio([(0, one), (5, one), (7, one), (20, one)], 24, 1, slack=1)))
    assert out[:, 0].tolist() == [1] * 12 + [0] * 8 + [1] * 4


# --- a file's own sound on the picture's clock -------------------------------------------------------------


def extracted(clip: Path) -> tuple[Sound, int]:
    info = probe(clip)
    target = clip.with_suffix(".own.wav")
    told = extract_audio(clip, info, target)
    sound = whole(target)
    assert (told.sample_rate, told.channels, told.samples) == (
        audio_format(target).sample_rate,
        *sound.shape[::-1],
    )
    assert told.samples == round(info.duration * told.sample_rate)
    return sound, told.sample_rate


@pytest.mark.parametrize(
    ("name", "codec", "tolerance"),
    [
        ("a.mov", "pcm_s16le", 0.0),
        ("a.mkv", "flac", 0.0),
        ("a.mp4", "aac", 0.0005),
        ("a.ts", "aac", 0.0005),
        ("a.mkv", "libopus", 0.0005),
    ],
)
def test_sound_is_heard_when_it_was(tmp_path: Path, name: str, codec: str, tolerance: float) -> None:
    clip = write_clip(tmp_path / name, audio=clicks([0.25, 0.5], 1.0, channels=2), audio_codec=codec)
    sound, rate = extracted(clip)
    assert click_times(sound, rate) == pytest.approx([0.25, 0.5], abs=tolerance or 1e-9)


def test_pcm_comes_out_sample_for_sample(tmp_path: Path) -> None:
    sound = np.round(noise(48_000, 2) * 3000).clip(-32_768, 32_767) / 32_768
    clip = write_clip(tmp_path / "a.mov", audio=sound, audio_codec="pcm_s16le")
    assert np.array_equal(extracted(clip)[0], sound.astype(np.float32))


def test_audio_that_starts_late_is_silent_before_it(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", audio=clicks([0.1], 0.6), audio_codec="pcm_s16le", audio_start=0.4)
    sound, rate = extracted(clip)
    assert not sound[: int(0.4 * rate)].any()
    assert click_times(sound, rate) == pytest.approx([0.5], abs=0.001)


def test_audio_that_starts_before_the_first_shown_frame_is_cut(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mov", audio=clicks([0.1, 0.7], 1.0), audio_codec="pcm_s16le", video_start=0.4)
    sound, rate = extracted(clip)
    assert click_times(sound, rate) == pytest.approx([0.3], abs=0.001)


def test_audio_shorter_than_the_picture_ends_in_silence(tmp_path: Path) -> None:
    sound, rate = extracted(write_clip(tmp_path / "a.mp4", audio=tone(440, 0.5)))
    assert np.abs(sound[: rate // 2]).max() > 0.2
    assert np.abs(sound[int(0.55 * rate) :]).max() == 0


def test_audio_longer_than_the_picture_is_cut(tmp_path: Path) -> None:
    sound, rate = extracted(write_clip(tmp_path / "a.mp4", audio=tone(440, 3.0)))
    assert len(sound) == rate


def test_sound_follows_what_an_edit_list_shows(tmp_path: Path) -> None:
    # The first 0.4 s of the picture are hidden; its clock starts with the first shown frame, as the sound's does.
    clip = write_clip(tmp_path / "a.mp4", audio=clicks([0.5], 1.0), audio_start=-0.4, video_start=-0.4, seconds=1)
    sound, rate = extracted(clip)
    assert click_times(sound, rate) == pytest.approx([0.1], abs=0.0005)


def test_sound_lasts_as_long_as_an_edit_list_shows_picture(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=2, audio=tone(440, 2.0))
    sound, rate = extracted(edit_list(clip, [(0.6, 0.0)]))
    assert len(sound) == round(0.6 * rate)


def test_a_gap_between_packets_is_silent_and_what_follows_stays_in_step(tmp_path: Path) -> None:
    clip = tmp_path / "a.mkv"
    gap_free = clicks([0.1, 0.3], 0.4)
    with av.open(str(clip), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height = 32, 32
        audio = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for start in (0, 48_000):
            frame = av.AudioFrame.from_ndarray(gap_free.reshape(1, -1), format="flt", layout="mono")
            frame.sample_rate, frame.pts = 48_000, start
            container.mux(audio.encode(frame))
    sound, rate = extracted(clip)
    assert click_times(sound, rate) == pytest.approx([0.1, 0.3, 1.1, 1.3], abs=0.001)
    assert not sound[int(0.45 * rate) : int(0.95 * rate)].any()


def test_more_than_two_channels_are_kept_apart(tmp_path: Path) -> None:
    channels = np.hstack([tone(200 * (index + 1), 1.0) for index in range(6)])
    sound, _ = extracted(write_clip(tmp_path / "a.mkv", audio=channels, audio_codec="flac"))
    assert sound.shape == (48_000, 6)
    assert np.abs(sound - channels).max() < 1e-3


def test_the_files_own_rate_is_kept(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", audio=tone(440, 1.0, 32_000), audio_rate=32_000)
    assert extracted(clip)[1] == 32_000


def test_a_file_without_sound_says_what_to_do_instead(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "silent.mp4")
    with pytest.raises(DeepSoundError, match=r"silent\.mp4: .*no sound.*; .*foley") as caught:
        extract_audio(clip, probe(clip), tmp_path / "out.wav")
    assert caught.value.code is ErrorCode.NO_AUDIO_STREAM
    assert not (tmp_path / "out.wav").exists()


def test_sound_that_claims_to_have_164_channels_can_not_be_decoded(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mov", audio=clicks([0.2], 1.0), audio_codec="pcm_s16le")
    data = bytearray(clip.read_bytes())
    channels = data.index(b"sowt") + 20
    data[channels : channels + 2] = (164).to_bytes(2, "big")
    clip.write_bytes(data)
    with pytest.raises(DeepSoundError, match="none of its sound can be decoded"):
        extract_audio(clip, probe(clip), tmp_path / "a.wav")


def test_damaged_sound_packets_are_counted_and_the_rest_stays_in_step(tmp_path: Path) -> None:
    sound = 0.05 * noise(4 * 48_000, 1) + clicks([0.2, 3.6], 4.0)
    clip = write_clip(
        tmp_path / "a.mp4", seconds=4, audio=sound.clip(-1, 1), size=(32, 32), codec="mpeg4", options={"b": "20k"}
    )
    told = extract_audio(scratch(clip, 0.45, 0.55), probe(clip), tmp_path / "out.wav")
    heard = whole(tmp_path / "out.wav")
    assert told.damaged_packets > 0
    assert len(heard) == 4 * 48_000
    assert np.argmax(np.abs(heard[:48_000])) / 48_000 == pytest.approx(0.2, abs=0.002)
    assert 3 + np.argmax(np.abs(heard[3 * 48_000 :])) / 48_000 == pytest.approx(3.6, abs=0.002)


def test_libsndfile_and_others_read_what_is_written(tmp_path: Path) -> None:
    write_float_wav(tmp_path / "a.wav", 48_000, 2, [noise(100)])
    assert soundfile.info(tmp_path / "a.wav").subtype == "FLOAT"
