"""A media file is described without decoding more than one frame."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.probe import probe
from tests.made_clips import clicks, cut_off, edit_list, scratch, write_clip

WHALE = Path(__file__).parents[3] / "shared/media/whale_edit_list.mp4"


def test_a_plain_clip_is_described_completely(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=1, audio=clicks([0.2], 1.0, channels=2))
    info = probe(clip)
    assert (info.container, info.codec, info.pixel_format) == ("mp4", "h264", "yuv420p")
    assert (info.width, info.height, info.frames) == (160, 120, 25)
    assert (info.frame_rate, info.variable_frame_rate, info.duration, info.start) == (25, False, 1.0, 0.0)
    assert (info.interlaced, info.rotation, info.hidden_frames, info.truncated) == (False, 0, 0, False)
    assert info.audio is not None
    assert (info.audio.codec, info.audio.sample_rate, info.audio.channels) == ("aac", 48_000, 2)
    assert info.audio.start == 0.0


@pytest.mark.skipif(not WHALE.exists(), reason="the whale clip is not beside this checkout")
def test_frames_that_an_edit_list_hides_are_not_counted() -> None:
    info = probe(WHALE)
    assert (info.frames, info.hidden_frames) == (251, 55)
    assert info.duration == pytest.approx(10.04)
    assert info.start == 0.0


def test_an_edit_list_that_trims_both_ends_gives_the_shown_frames_and_time(tmp_path: Path) -> None:
    clip = edit_list(write_clip(tmp_path / "a.mp4", seconds=2, options={"g": "12"}), [(0.6, 0.4)])
    info = probe(clip)
    assert info.frames == 15
    assert info.duration == pytest.approx(0.6)


def test_a_clip_without_an_audio_track_has_no_audio(tmp_path: Path) -> None:
    assert probe(write_clip(tmp_path / "a.mp4")).audio is None


def test_audio_times_count_from_the_first_frame(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "a.mov", audio=clicks([], 0.3), audio_codec="pcm_s16le", audio_start=0.4, video_start=0.1
    )
    audio = probe(clip).audio
    assert audio is not None
    assert audio.start == pytest.approx(0.3, abs=0.001)
    assert audio.duration == pytest.approx(0.3, abs=0.001)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_frame_rate_is_detected_and_its_mean_reported(tmp_path: Path, suffix: str) -> None:
    clip = write_clip(tmp_path / f"a.{suffix}", times=[0, 0.04, 0.1, 0.2, 0.21, 0.5, 0.9])
    info = probe(clip)
    assert info.variable_frame_rate
    assert info.frames == 7
    assert float(info.frame_rate) == pytest.approx(7 / info.duration, rel=0.01)


@pytest.mark.parametrize(
    ("suffix", "rate"), [("mp4", Fraction(30000, 1001)), ("mkv", Fraction(24000, 1001)), ("mkv", Fraction(60))]
)
def test_a_constant_rate_is_exact_although_the_container_rounds_times(
    tmp_path: Path, suffix: str, rate: Fraction
) -> None:
    info = probe(write_clip(tmp_path / f"a.{suffix}", seconds=2, rate=rate))
    assert (info.frame_rate, info.variable_frame_rate) == (rate, False)
    assert info.duration == pytest.approx(float(info.frames / rate), abs=1e-9)


@pytest.mark.parametrize(("rotation", "size"), [(90, (120, 160)), (180, (160, 120)), (270, (120, 160))])
def test_rotation_swaps_width_and_height(tmp_path: Path, rotation: int, size: tuple[int, int]) -> None:
    info = probe(write_clip(tmp_path / "a.mp4", rotation=rotation))
    assert info.rotation == rotation
    assert (info.width, info.height) == size


def test_pixels_that_are_not_square_change_the_width(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "a.mp4", size=(180, 144), aspect=Fraction(16, 15)))
    assert (info.width, info.height) == (192, 144)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mpg", "mpeg2video")])
def test_interlaced_video_is_detected(tmp_path: Path, name: str, codec: str) -> None:
    assert probe(write_clip(tmp_path / name, codec=codec, interlaced=True)).interlaced


def test_ten_bit_422_prores_is_described(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "a.mov", codec="prores_ks", pixel_format="yuv422p10le", seconds=0.2))
    assert (info.container, info.codec, info.pixel_format) == ("mov", "prores", "yuv422p10le")


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "a.mp4", seconds=0.04))
    assert info.frames == 1
    assert info.duration == pytest.approx(0.04)


def test_avi_with_reordered_frames_has_a_constant_rate(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "a.avi", codec="mpeg4", options={"bf": "2"}))
    assert (info.frames, info.frame_rate, info.variable_frame_rate) == (25, 25, False)
    assert info.duration == pytest.approx(1.0)


def test_a_cover_picture_is_not_a_video(tmp_path: Path) -> None:
    clip = tmp_path / "song.mp4"
    with av.open(str(clip), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="flt", layout="mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(DeepSoundError) as caught:
        probe(clip)
    assert caught.value.code is ErrorCode.NO_VIDEO_STREAM


def test_a_sound_file_has_no_video_stream(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(DeepSoundError, match=r"sound\.wav: there is no video") as caught:
        probe(path)
    assert caught.value.code is ErrorCode.NO_VIDEO_STREAM


def test_a_file_that_ends_early_is_truncated(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=4, container_options={"movflags": "faststart"})
    assert not probe(clip).truncated
    info = probe(cut_off(clip, 0.6))
    assert info.truncated
    assert 10 < info.frames < 90


@pytest.mark.parametrize(
    ("code", "make"),
    [
        (ErrorCode.SOURCE_MISSING, lambda path: path.unlink(missing_ok=True)),
        (ErrorCode.SOURCE_EMPTY, lambda path: path.write_bytes(b"")),
        (ErrorCode.SOURCE_NOT_MEDIA, lambda path: path.write_text("dear reader\n" * 200)),
        (ErrorCode.SOURCE_NOT_MEDIA, lambda path: path.mkdir()),
        (ErrorCode.SOURCE_CORRUPT, lambda path: cut_off(write_clip(path, seconds=2), 0.5)),
        (ErrorCode.SOURCE_CORRUPT, lambda path: path.write_bytes(b"\x1aE\xdf\xa3" + b"\xff" * 500)),
    ],
    ids=["missing", "empty", "a text", "a folder", "header lost", "damaged header"],
)
def test_a_file_that_is_not_a_video_is_refused_in_one_line_that_names_it(
    tmp_path: Path, code: ErrorCode, make
) -> None:
    path = tmp_path / "reel 041.mp4"
    make(path)
    with pytest.raises(DeepSoundError) as caught:
        probe(path)
    assert caught.value.code is code
    assert "reel 041.mp4" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_a_file_whose_packets_are_all_noise_is_corrupt(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=1, container_options={"movflags": "faststart"})
    size = clip.stat().st_size
    begin = clip.read_bytes().index(b"mdat") / size
    with pytest.raises(DeepSoundError) as caught:
        probe(scratch(clip, begin + 8 / size, 1.0))
    assert caught.value.code is ErrorCode.SOURCE_CORRUPT
