"""Excerpts are exact to the frame and the sample, and their picture is copied bit for bit."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import correlate

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import read_blocks, write_float_wav
from deepsound.media.excerpt import cut_excerpt
from deepsound.media.extract_audio import extract_audio
from deepsound.media.media_files import container_for
from deepsound.media.media_info import Excerpt
from deepsound.media.mux import mux
from deepsound.media.probe import probe
from tests.frame_probe import shown, stored_packets
from tests.made_clips import clicks, edit_list, tone, write_clip

REORDERED = {"bf": "2", "g": "12", "preset": "fast"}
OPEN_GROUPS = {**REORDERED, "x264-params": "open-gop=1:scenecut=0:b-pyramid=normal"}


def is_run_of(part: list[bytes], whole: list[bytes]) -> bool:
    """Whether `part` is a run of consecutive packets of `whole`."""
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def samples_of(path: Path) -> tuple[int, NDArray[np.float32]]:
    heard = path.with_name("heard.wav")
    rate = extract_audio(path, probe(path), heard).sample_rate
    return rate, np.concatenate(list(read_blocks(heard, 1 << 20)))


def click_times(path: Path) -> list[float]:
    rate, heard = samples_of(path)
    loud = np.flatnonzero(np.abs(heard).max(axis=1) > 0.4)
    return [loud[i] / rate for i in range(len(loud)) if i == 0 or loud[i] - loud[i - 1] > rate // 50]


def frames_of(video: list[tuple[float, int]], start: float, end: float | None) -> list[tuple[float, int]]:
    """Return the frames shown from `start` until before `end`, with times from the first of them."""
    zero = video[0][0]
    first = max(n for n, (time, _) in enumerate(video) if time - zero <= start + 0.001)
    kept = [shot for shot in video[first:] if end is None or shot[0] - zero < end - 0.001]
    return [(time - video[first][0], number) for time, number in kept]


def cut_from(clip: Path, start: float, end: float | None) -> tuple[Path, Excerpt]:
    target = clip.with_name("excerpt")
    return target, cut_excerpt(clip, start, end, target)


ARCHIVE = {
    "plain.mp4": {"options": REORDERED},
    "open_groups.mp4": {"options": OPEN_GROUPS},
    "plain.mkv": {"options": REORDERED},
    "plain.mov": {"options": REORDERED},
    "hevc.mp4": {
        "codec": "libx265",
        "options": {"x265-params": "log-level=none:keyint=12", "preset": "ultrafast"},
    },
    "ntsc.mp4": {"rate": Fraction(30000, 1001), "options": REORDERED},
    "film.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le", "size": (128, 96)},
    "reordered.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "lossless.avi": {"codec": "huffyuv", "pixel_format": "yuv422p"},
    "broadcast.mxf": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "dvd.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}, "audio": tone(300, 1.0), "audio_codec": "mp2"},
    "stream.ts": {"options": REORDERED},
    "web.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
    "late.mp4": {"video_start": 0.4, "options": REORDERED},
    "late.mkv": {"video_start": 0.4, "options": REORDERED},
    "hidden.mp4": {"seconds": 1.4, "video_start": -0.4, "options": REORDERED},
    "negative_offsets.mp4": {"options": REORDERED, "container_options": {"movflags": "negative_cts_offsets"}},
    "fragments.mp4": {"options": REORDERED, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "rotated.mp4": {"rotation": 90, "options": REORDERED},
    "variable.mp4": {"times": [0, 0.04, 0.1, 0.2, 0.21, 0.3, 0.5, 0.55, 0.7, 0.9], "options": REORDERED},
}


RANGES = [
    *((name, 0.201, 0.479) for name in ARCHIVE),
    *((name, 0.52, 0.8) for name in ("plain.mp4", "open_groups.mp4", "late.mp4", "hidden.mp4", "variable.mp4")),
    *((name, 0.7, None) for name in ("plain.mkv", "stream.ts", "variable.mp4", "reordered.avi")),
]


@pytest.mark.parametrize(("name", "start", "end"), RANGES)
def test_an_excerpt_holds_the_frames_of_its_span_with_their_packets_copied(
    tmp_path: Path, name: str, start: float, end: float | None
) -> None:
    made = write_clip(tmp_path / name, **ARCHIVE[name])
    before = shown(made)
    target, excerpt = cut_from(made, start, end)
    expected = frames_of(before, start, end)
    after = shown(target)
    assert [number for _, number in after] == [number for _, number in expected]
    assert [time for time, _ in after] == pytest.approx([time for time, _ in expected], abs=0.0011)
    assert excerpt.frames == len(expected)
    # MP4 stores lengths where a transport stream has start codes.
    assert name == "stream.ts" or is_run_of(stored_packets(target), stored_packets(made))
    info, was = probe(target), probe(made)
    assert info.duration == pytest.approx(excerpt.end - excerpt.start, abs=0.0011)
    assert (info.width, info.height, info.rotation, info.codec) == (was.width, was.height, was.rotation, was.codec)
    assert not info.truncated
    sound = tmp_path / "new.wav"
    write_float_wav(sound, 48_000, 1, [clicks([0.1], info.duration)])
    delivered = tmp_path / f"delivered{container_for(info)}"
    mux(target, sound, delivered)
    assert [number for _, number in shown(delivered)] == [number for _, number in expected]
    assert click_times(delivered) == pytest.approx([0.1], abs=0.001)


EDITS = {
    "two pieces": [(0.4, 0.08), (0.4, 1.28)],
    "later piece first": [(0.4, 1.28), (0.4, 0.08)],
    "starts with an empty edit": [(0.3, None), (1.0, 0.48)],
    "starts between two frames": [(0.9, 0.505)],
}


@pytest.mark.parametrize("name", list(EDITS))
def test_an_excerpt_follows_the_edit_list_of_the_source(tmp_path: Path, name: str) -> None:
    made = edit_list(write_clip(tmp_path / "edited.mp4", seconds=2.0, options=REORDERED), EDITS[name])
    before = shown(made)
    target, _ = cut_from(made, 0.2, 0.64)
    expected = frames_of(before, 0.2, 0.64)
    after = shown(target)
    # FFmpeg joins the pieces of an edit list to within a frame, in the source as in the excerpt.
    same = min(len(after), len(expected))
    assert [number for _, number in after[:same]] == [number for _, number in expected[:same]]
    assert abs(len(after) - len(expected)) <= 1


def test_a_time_rounded_to_the_millisecond_means_the_nearest_frame(tmp_path: Path) -> None:
    made = write_clip(tmp_path / "ntsc.mp4", rate=Fraction(30000, 1001), options=REORDERED)
    for written in (0.467, 0.468):  # frame 14 is shown at 0.467133
        target, excerpt = cut_from(made, written, 0.6)
        assert shown(target)[0][1] == 14
        assert excerpt.start == pytest.approx(14 * 1001 / 30000)
        assert excerpt.frames == 4


def test_a_span_shorter_than_a_frame_is_the_frame_shown_then(tmp_path: Path) -> None:
    target, excerpt = cut_from(write_clip(tmp_path / "clip.mp4", options=REORDERED), 0.41, 0.42)
    assert [number for _, number in shown(target)] == [10]
    assert excerpt.end - excerpt.start == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.mov", "pcm_s16le", 44_100), ("a.mp4", "aac", 48_000), ("a.mkv", "libmp3lame", 44_100)],
)
def test_the_audio_of_an_excerpt_equals_the_originals_to_the_sample(
    tmp_path: Path, name: str, codec: str, rate: int
) -> None:
    sound = clicks([2.61, 2.9], 4.0, rate) + tone(700, 4.0, rate, level=0.1)
    made = write_clip(
        tmp_path / name, seconds=4.0, rate=10, size=(64, 48), audio=sound, audio_codec=codec, audio_rate=rate
    )
    _, whole = samples_of(made)
    target, _ = cut_from(made, 2.5, 3.1)
    excerpt_rate, heard = samples_of(target)
    assert excerpt_rate == rate
    assert len(heard) == round(0.6 * rate)
    part = whole[round(2.5 * rate) :][: len(heard)]
    assert np.argmax(correlate(heard[:, 0], part[:, 0])) == len(heard) - 1  # not one sample early or late
    assert np.abs(heard - part)[: rate // 10].max() < 1e-4


def test_an_excerpt_is_silent_after_the_end_of_the_audio(tmp_path: Path) -> None:
    made = write_clip(tmp_path / "short.mp4", seconds=3.0, rate=10, size=(64, 48), audio=tone(500, 0.5))
    rate, heard = samples_of(cut_from(made, 2.0, 2.5)[0])
    assert len(heard) == round(0.5 * rate)
    assert not heard.any()


def test_an_excerpt_of_a_video_without_audio_has_no_audio(tmp_path: Path) -> None:
    assert probe(cut_from(write_clip(tmp_path / "silent.mp4"), 0.2, 0.6)[0]).audio is None


def test_equal_excerpts_have_equal_bytes(tmp_path: Path) -> None:
    made = write_clip(tmp_path / "clip.mp4", options=REORDERED, audio=tone(500, 1.0))
    assert cut_from(made, 0.2, 0.6)[0].read_bytes() == cut_from(made, 0.2, 0.6)[0].read_bytes()


def test_a_codec_whose_frames_no_container_can_hide_is_refused(tmp_path: Path) -> None:
    made = write_clip(tmp_path / "web.webm", codec="libvpx", options={"cpu-used": "8", "deadline": "realtime"})
    with pytest.raises(
        DeepSoundError, match=r"web.webm: its picture \(vp8\) can't be cut between keyframes"
    ) as caught:
        cut_from(made, 0.2, 0.6)
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    assert [number for _, number in shown(cut_from(made, 0.0, 0.6)[0])] == list(range(15))


def test_a_span_beyond_the_end_is_refused(tmp_path: Path) -> None:
    made = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(DeepSoundError, match=r"nothing is shown at 5 s: it ends after 1.000 s") as caught:
        cut_from(made, 5.0, None)
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert not (tmp_path / "excerpt").exists()
