"""One decoding pass gives every observer its frames, with their times and sizes, also from damaged files."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.decode import decode_video
from deepsound.media.in_sandbox import decord_reader
from deepsound.media.in_sandbox.frame_reader import DecodingPass
from deepsound.media.observers import FrameChoice, FrameSampling, is_current_at_instant, scaled_size
from deepsound.media.probe import probe
from tests.count_opens import counted_opens
from tests.frame_times import chosen_by_the_reference, frame_times, taken
from tests.made_clips import clicks, cut_off, edit_list, read_number, scratch, write_clip
from tests.voiced_clips import shipped_clip

WHALE = Path(__file__).parents[3] / "shared/media/whale_edit_list.mp4"


class Recorder:
    """Records the frames and times that it gets."""

    version = "1"

    def __init__(
        self,
        rate: float | None = None,
        long_side: int | None = None,
        name: str = "recorder",
        choice: FrameChoice = FrameChoice.CURRENT,
    ) -> None:
        self.name = name
        self.sampling = FrameSampling(rate, long_side, choice)
        self.frames: list[NDArray[np.uint8]] = []
        self.times: list[float] = []
        self.largest_block = 0

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        self.frames.extend(frames)
        self.times.extend(times)
        self.largest_block = max(self.largest_block, len(frames))

    def finish(self) -> Mapping[str, NDArray[np.generic]]:
        return {"time": np.array(self.times), "number": np.array(self.numbers)}

    @property
    def numbers(self) -> list[int]:
        return [read_number(frame) for frame in self.frames]


@pytest.fixture
def no_decord(monkeypatch: pytest.MonkeyPatch) -> None:
    """Act as on a processor for which decord has no wheel."""
    monkeypatch.setattr(decord_reader, "decord", None)


def test_an_observer_gets_every_frame_once_in_order_with_its_time(tmp_path: Path) -> None:
    recorder = Recorder()
    footage = decode_video(write_clip(tmp_path / "a.mp4", seconds=2), [recorder])
    assert recorder.numbers == list(range(50))
    assert recorder.times == pytest.approx([i / 25 for i in range(50)])
    assert footage.frames == 50
    assert footage.damage is None


def test_blocks_stay_small_for_long_videos(tmp_path: Path) -> None:
    recorder = Recorder()
    decode_video(write_clip(tmp_path / "a.mp4", seconds=6, size=(32, 32)), [recorder])
    assert len(recorder.frames) == 150
    assert recorder.largest_block <= 32


@pytest.mark.parametrize("name", ["plain.mp4", "edited.mp4", "old.avi"])
def test_the_file_is_opened_once_for_all_observers(tmp_path: Path, name: str) -> None:
    start = -0.4 if name == "edited.mp4" else 0.0
    codec = "mpeg4" if name == "old.avi" else "libx264"
    clip = write_clip(tmp_path / name, video_start=start, codec=codec)
    info = probe(clip)
    observers = [Recorder(name=f"w{i}", rate=rate) for i, rate in enumerate((None, 1.0, 25.0))]
    with counted_opens(clip) as opens:
        decode_video(clip, observers, info)
        assert opens() == 1


def test_a_sampling_rate_selects_the_frame_shown_at_each_instant(tmp_path: Path) -> None:
    recorder = Recorder(rate=4.0)
    decode_video(write_clip(tmp_path / "a.mp4", seconds=2, rate=10), [recorder])
    assert recorder.numbers == [0, 2, 5, 7, 10, 12, 15, 17]
    assert recorder.times == pytest.approx([0.0, 0.2, 0.5, 0.7, 1.0, 1.2, 1.5, 1.7])


def test_a_sampling_rate_above_the_frame_rate_selects_each_frame_once(tmp_path: Path) -> None:
    recorder = Recorder(rate=60.0)
    decode_video(write_clip(tmp_path / "a.mp4", seconds=1, rate=10), [recorder])
    assert recorder.numbers == list(range(10))


def test_a_frame_that_covers_several_instants_is_selected_once(tmp_path: Path) -> None:
    recorder = Recorder(rate=10.0)
    decode_video(write_clip(tmp_path / "a.mp4", times=[0, 0.05, 0.1, 0.55, 0.6]), [recorder])
    assert recorder.numbers == [0, 2, 4]


@given(
    st.lists(st.floats(0.004, 2.0), min_size=1, max_size=40),
    st.sampled_from([1.0, 4.0, 8.0, 23.976, 25.0, 30.0]),
)
def test_sampling_selects_exactly_the_frames_shown_at_an_instant(steps: list[float], rate: float) -> None:
    ends = np.cumsum(steps)
    begins = ends - steps
    instants = np.arange(int(ends[-1] * rate) + 2) / rate
    for begin, end in zip(begins, ends, strict=True):
        if np.abs(instants - begin).min() < 1e-5 or np.abs(instants - end).min() < 1e-5:
            continue
        expected = bool(((instants >= begin) & (instants < end)).any())
        assert is_current_at_instant(rate, begin, end) == expected


@given(frame_times, st.sampled_from([8, 25]))
def test_next_frames_are_those_that_the_reference_selects(times: list[Fraction], rate: int) -> None:
    assert taken(times, rate) == sorted(set(chosen_by_the_reference(times, rate)))


def test_a_held_frame_is_selected_although_no_instant_falls_to_it() -> None:
    times = [Fraction(n, 30) for n in range(31)] + [Fraction(5), Fraction(151, 30)]
    assert chosen_by_the_reference(times, 8)[-3:] == [31, 31, 31]
    assert taken(times, 8)[-3:] == [27, 30, 31]
    assert taken(times[:-1], 8, ends=10.0)[-1] == 31


def test_both_rates_of_mmaudio_get_the_frames_of_the_reference_in_one_decoding_pass() -> None:
    clip = shipped_clip("carphone_pristine.mp4")  # 29.97 frames a second
    with av.open(str(clip)) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    eight, twenty_five = (Recorder(rate, None, str(rate), FrameChoice.NEXT) for rate in (8.0, 25.0))
    current, every = Recorder(25.0, None, "current"), Recorder(name="every")
    info = probe(clip)
    with counted_opens(clip) as opens:
        decode_video(clip, [eight, twenty_five, current, every], info)
        assert opens() == 1
    for recorder in (eight, twenty_five):
        numbers = chosen_by_the_reference(times, int(recorder.sampling.rate or 0))
        assert recorder.times == pytest.approx([float(times[number]) for number in numbers])
        assert np.array_equal(recorder.frames, [every.frames[number] for number in numbers])
    assert current.times != twenty_five.times


def test_frames_are_scaled_to_the_long_side_and_never_enlarged(tmp_path: Path) -> None:
    small, same, large = Recorder(1, 80, "small"), Recorder(1, None, "same"), Recorder(1, 4000, "large")
    decode_video(write_clip(tmp_path / "a.mp4"), [small, same, large])
    assert small.frames[0].shape == (60, 80, 3)
    assert same.frames[0].shape == large.frames[0].shape == (120, 160, 3)


def test_an_observers_frames_do_not_depend_on_other_observers(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    alone, together = Recorder(None, 80), Recorder(None, 80)
    decode_video(clip, [alone])
    decode_video(clip, [together, Recorder(5, 120, "b"), Recorder(None, None, "c")])
    assert np.array_equal(alone.frames, together.frames)
    assert alone.times == together.times


def test_decord_and_pyav_give_the_same_frames_for_a_plain_file(tmp_path: Path, request) -> None:
    clip = write_clip(tmp_path / "a.mp4", options={"bf": "2", "g": "10", "preset": "fast"}, seconds=2)
    recorder = Recorder(None, 96)
    assert decode_video(clip, [recorder]).decoder == "decord"
    request.getfixturevalue("no_decord")
    decoding = DecodingPass(clip, probe(clip), lambda *_: True)
    frames = [(frame.time, frame.rgb((96, 72))) for frame in decoding]
    assert decoding.decoder == "pyav"
    assert recorder.times == pytest.approx([time for time, _ in frames], abs=1e-9)
    assert np.array_equal(recorder.frames, [frame for _, frame in frames])


@pytest.mark.skipif(not WHALE.exists(), reason="the whale clip is not beside this checkout")
def test_hidden_frames_of_the_whale_clip_are_not_shown() -> None:
    recorder = Recorder(None, 64)
    footage = decode_video(WHALE, [recorder])
    assert footage.decoder == "pyav"
    assert len(recorder.frames) == 251
    assert recorder.times == pytest.approx([i / 25 for i in range(251)])


def test_hidden_frames_before_and_after_the_shown_ones_stay_hidden(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=2, options={"g": "12"})
    recorder = Recorder()
    decode_video(edit_list(clip, [(0.6, 0.52)]), [recorder])
    assert recorder.numbers == list(range(13, 28))
    assert recorder.times == pytest.approx([i / 25 for i in range(15)])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_rate_keeps_its_times(tmp_path: Path, suffix: str) -> None:
    times = [0, 0.04, 0.1, 0.2, 0.21, 0.5, 0.9]
    recorder = Recorder()
    decode_video(write_clip(tmp_path / f"a.{suffix}", times=times), [recorder])
    assert recorder.numbers == list(range(7))
    assert recorder.times == pytest.approx(times, abs=0.0006)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_frames_of_rotated_video_are_upright(tmp_path: Path, rotation: int) -> None:
    recorder = Recorder()
    decode_video(write_clip(tmp_path / "a.mp4", rotation=rotation), [recorder])
    # Turned back anticlockwise, the frames show their numbers as they were coded.
    assert [read_number(np.rot90(frame, rotation // 90)) for frame in recorder.frames] == list(range(25))


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    recorder = Recorder()
    decode_video(write_clip(tmp_path / "a.mp4", size=(180, 144), aspect=Fraction(16, 15)), [recorder])
    assert recorder.frames[0].shape == (144, 192, 3)
    assert recorder.numbers == list(range(25))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("odd.avi", {"codec": "mpeg4", "size": (161, 121)}),
        ("odd.mp4", {"size": (161, 121), "pixel_format": "yuv444p"}),
        ("ten_bit.mp4", {"pixel_format": "yuv422p10le"}),
        ("prores.mov", {"codec": "prores_ks", "pixel_format": "yuv422p10le"}),
        ("reordered.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("h264.avi", {"options": {"bf": "2", "preset": "fast"}}),
        ("late.mp4", {"video_start": 0.4, "audio": clicks([], 1.0)}),
        ("transport.ts", {"audio": clicks([], 1.0)}),
        ("dvd.mpg", {"codec": "mpeg2video", "audio": clicks([], 1.0), "audio_codec": "mp2"}),
        ("broadcast.mxf", {"codec": "mpeg2video"}),
        ("web.webm", {"codec": "libvpx"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_frame_of_archive_formats_is_decoded(tmp_path: Path, name: str, options) -> None:
    recorder = Recorder()
    footage = decode_video(write_clip(tmp_path / name, **options), [recorder])
    assert recorder.numbers == list(range(25))
    assert recorder.times == pytest.approx([i / 25 for i in range(25)], abs=1e-6)
    assert footage.damage is None


def combed(time: float) -> NDArray[np.uint8]:
    """Return two fields 1/50 s apart: a bright bar that moves right, the odd lines later than the even ones."""
    picture = np.full((120, 160, 3), 40, np.uint8)
    for field in (0, 1):
        left = int((time + field / 50) * 150)
        picture[field::2, left : left + 20] = 220
    return picture


def test_interlaced_video_is_deinterlaced(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=0.8, frames=combed, interlaced=True, options={"crf": "4"})
    recorder = Recorder()
    decode_video(clip, [recorder])
    assert len(recorder.frames) == 20
    assert recorder.times == pytest.approx([i / 25 for i in range(20)])
    for time, frame in zip(recorder.times[2:18], recorder.frames[2:18], strict=True):
        assert combing(frame) < 0.3 * combing(combed(time))


def combing(picture: NDArray[np.uint8]) -> float:
    lines = picture.astype(float)
    return float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean())


def test_a_video_of_one_frame_is_decoded(tmp_path: Path) -> None:
    recorder = Recorder(rate=8.0)
    assert decode_video(write_clip(tmp_path / "a.mp4", seconds=0.04), [recorder]).frames == 1
    assert (recorder.numbers, recorder.times) == ([0], [0.0])


def test_a_truncated_file_is_decoded_as_far_as_possible_and_reported_as_damaged(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=4, container_options={"movflags": "faststart"})
    recorder = Recorder()
    footage = decode_video(cut_off(clip, 0.6), [recorder])
    assert recorder.numbers[:10] == list(range(10))
    assert 10 < footage.frames < 90
    assert footage.damage is not None
    assert "ends before" in footage.damage


def test_damage_in_the_middle_is_skipped_and_reported(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", seconds=4, options={"g": "10"})
    recorder = Recorder()
    footage = decode_video(scratch(clip, 0.4, 0.5), [recorder])
    assert recorder.numbers[:10] == list(range(10))
    assert recorder.numbers[-10:] == list(range(90, 100))
    assert recorder.times == sorted(recorder.times)
    assert footage.damage is not None


def test_a_file_without_a_decodable_frame_is_corrupt(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", container_options={"movflags": "faststart"})
    info = probe(clip)
    size = clip.stat().st_size
    scratch(clip, (clip.read_bytes().index(b"mdat") + 8) / size, 1.0)
    with pytest.raises(DeepSoundError) as caught:
        decode_video(clip, [Recorder()], info)
    assert caught.value.code is ErrorCode.SOURCE_CORRUPT


def test_two_observers_with_the_same_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="share a name"):
        decode_video(write_clip(tmp_path / "a.mp4", seconds=0.2), [Recorder(), Recorder()])


def test_frames_are_counted_without_observers(tmp_path: Path) -> None:
    assert decode_video(write_clip(tmp_path / "a.mp4"), []).frames == 25


def test_a_scaled_side_is_at_least_one_pixel(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "a.mp4", size=(640, 2), codec="mpeg4", seconds=0.2))
    assert scaled_size(info, 64) == (64, 1)
