"""Extracted audio is aligned with the picture's clock, and damage is counted."""

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import audio_format, read_blocks
from deepsound.media.extract_audio import extract_audio
from deepsound.media.probe import probe
from tests.made_clips import clicks, edit_list, scratch, tone, write_clip

Sound = NDArray[np.float32]


def noise(samples: int, channels: int = 2) -> Sound:
    return np.random.default_rng(0).standard_normal((samples, channels)).astype(np.float32)


def read_all(path: Path) -> Sound:
    return np.concatenate(list(read_blocks(path, 4096)))


def click_times(sound: Sound, rate: int) -> list[float]:
    """Return the times in seconds at which sound begins after silence."""
    loud = np.flatnonzero(np.abs(sound).max(axis=1) > 0.35)
    return [loud[i] / rate for i in range(len(loud)) if i == 0 or loud[i] - loud[i - 1] > rate // 50]


def extracted(clip: Path) -> tuple[Sound, int]:
    info = probe(clip)
    target = clip.with_suffix(".own.wav")
    extracted_format = extract_audio(clip, info, target)
    sound = read_all(target)
    assert (extracted_format.sample_rate, extracted_format.channels, extracted_format.samples) == (
        audio_format(target).sample_rate,
        *sound.shape[::-1],
    )
    assert extracted_format.samples == round(info.duration * extracted_format.sample_rate)
    return sound, extracted_format.sample_rate


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
def test_extracted_audio_keeps_its_times(tmp_path: Path, name: str, codec: str, tolerance: float) -> None:
    clip = write_clip(tmp_path / name, audio=clicks([0.25, 0.5], 1.0, channels=2), audio_codec=codec)
    sound, rate = extracted(clip)
    assert click_times(sound, rate) == pytest.approx([0.25, 0.5], abs=tolerance or 1e-9)


def test_pcm_is_extracted_sample_for_sample(tmp_path: Path) -> None:
    sound = np.round(noise(48_000, 2) * 3000).clip(-32_768, 32_767) / 32_768
    clip = write_clip(tmp_path / "a.mov", audio=sound, audio_codec="pcm_s16le")
    assert np.array_equal(extracted(clip)[0], sound.astype(np.float32))


def test_audio_that_starts_late_is_preceded_by_silence(tmp_path: Path) -> None:
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


def test_audio_is_cut_with_the_frames_that_an_edit_list_hides(tmp_path: Path) -> None:
    # The first 0.4 s of the picture are hidden; its clock starts with the first shown frame, as the sound's does.
    clip = write_clip(tmp_path / "a.mp4", audio=clicks([0.5], 1.0), audio_start=-0.4, video_start=-0.4, seconds=1)
    sound, rate = extracted(clip)
    assert click_times(sound, rate) == pytest.approx([0.1], abs=0.0005)


def test_audio_lasts_as_long_as_the_picture_that_an_edit_list_shows(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=2, audio=tone(440, 2.0))
    sound, rate = extracted(edit_list(clip, [(0.6, 0.0)]))
    assert len(sound) == round(0.6 * rate)


def test_a_gap_between_packets_is_silent_and_later_audio_stays_in_sync(tmp_path: Path) -> None:
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


def test_all_six_channels_are_kept(tmp_path: Path) -> None:
    channels = np.hstack([tone(200 * (index + 1), 1.0) for index in range(6)])
    sound, _ = extracted(write_clip(tmp_path / "a.mkv", audio=channels, audio_codec="flac"))
    assert sound.shape == (48_000, 6)
    assert np.abs(sound - channels).max() < 1e-3


def test_the_sampling_rate_of_the_file_is_kept(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", audio=tone(440, 1.0, 32_000), audio_rate=32_000)
    assert extracted(clip)[1] == 32_000


def test_the_error_for_a_file_without_audio_suggests_another_generator(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "silent.mp4")
    with pytest.raises(DeepSoundError, match=r"silent\.mp4: .*no sound.*; .*foley") as caught:
        extract_audio(clip, probe(clip), tmp_path / "out.wav")
    assert caught.value.code is ErrorCode.NO_AUDIO_STREAM
    assert not (tmp_path / "out.wav").exists()


def test_audio_that_claims_164_channels_is_corrupt(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mov", audio=clicks([0.2], 1.0), audio_codec="pcm_s16le")
    data = bytearray(clip.read_bytes())
    channels = data.index(b"sowt") + 20
    data[channels : channels + 2] = (164).to_bytes(2, "big")
    clip.write_bytes(data)
    with pytest.raises(DeepSoundError, match="none of its sound can be decoded"):
        extract_audio(clip, probe(clip), tmp_path / "a.wav")


def test_damaged_packets_are_counted_and_the_rest_stays_in_sync(tmp_path: Path) -> None:
    sound = 0.05 * noise(4 * 48_000, 1) + clicks([0.2, 3.6], 4.0)
    clip = write_clip(
        tmp_path / "a.mp4", seconds=4, audio=sound.clip(-1, 1), size=(32, 32), codec="mpeg4", options={"b": "20k"}
    )
    extracted_format = extract_audio(scratch(clip, 0.45, 0.55), probe(clip), tmp_path / "out.wav")
    heard = read_all(tmp_path / "out.wav")
    assert extracted_format.damaged_packets > 0
    assert len(heard) == 4 * 48_000
    assert np.argmax(np.abs(heard[:48_000])) / 48_000 == pytest.approx(0.2, abs=0.002)
    assert 3 + np.argmax(np.abs(heard[3 * 48_000 :])) / 48_000 == pytest.approx(3.6, abs=0.002)
