"""One decoding pass: who sees which frame, when, how large, and what happens with damage."""

import json
import os
import subprocess
import tracemalloc
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.decode import decode_video
from deepsound.media.in_sandbox import decord_reader
from deepsound.media.in_sandbox.frame_reader import DecodingPass
from deepsound.media.observation_files import load_observations, save_observations
from deepsound.media.observers import FrameChoice, FrameSampling, is_current_at_instant, scaled_size
from deepsound.media.probe import probe
from tests.count_opens import counted_opens
from tests.frame_times import chosen_by_the_reference, frame_times, taken
from tests.made_clips import clicks, cut_off, edit_list, read_number, scratch, write_clip
from tests.voiced_clips import shipped_clip

WHALE = Path(__file__).parents[3] / "shared/media/whale_edit_list.mp4"


class Witness:
    """An observer that remembers what it saw."""

    version = "1"

    def __init__(
        self,
        rate: float | None = None,
        long_side: int | None = None,
        name: str = "witness",
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
    """As on a processor for which decord has no wheel."""
    monkeypatch.setattr(decord_reader, "decord", None)


def test_every_frame_is_seen_once_in_order_at_its_time(tmp_path: Path) -> None:
    seen = Witness()
    footage = decode_video(write_clip(tmp_path / "a.mp4", seconds=2), [seen])
    assert seen.numbers == list(range(50))
    assert seen.times == pytest.approx([i / 25 for i in range(50)])
    assert footage.frames == 50
    assert footage.damage is None


def test_blocks_stay_small_however_long_the_video(tmp_path: Path) -> None:
    seen = Witness()
    decode_video(write_clip(tmp_path / "a.mp4", seconds=6, size=(32, 32)), [seen])
    assert len(seen.frames) == 150
    assert seen.largest_block <= 32


@pytest.mark.parametrize("name", ["plain.mp4", "edited.mp4", "old.avi"])
def test_the_file_is_opened_once_for_all_observers(tmp_path: Path, name: str) -> None:
    start = -0.4 if name == "edited.mp4" else 0.0
    codec = "mpeg4" if name == "old.avi" else "libx264"
    clip = write_clip(tmp_path / name, video_start=start, codec=codec)
    info = probe(clip)
    observers = [Witness(name=f"w{i}", rate=rate) for i, rate in enumerate((None, 1.0, 25.0))]
    with counted_opens(clip) as opens:
        decode_video(clip, observers, info)
        assert opens() == 1


def test_a_rate_hands_over_the_frame_on_show_at_each_instant(tmp_path: Path) -> None:
    seen = Witness(rate=4.0)
    decode_video(write_clip(tmp_path / "a.mp4", seconds=2, rate=10), [seen])
    assert seen.numbers == [0, 2, 5, 7, 10, 12, 15, 17]
    assert seen.times == pytest.approx([0.0, 0.2, 0.5, 0.7, 1.0, 1.2, 1.5, 1.7])


def test_a_rate_above_the_videos_hands_each_frame_over_once(tmp_path: Path) -> None:
    seen = Witness(rate=60.0)
    decode_video(write_clip(tmp_path / "a.mp4", seconds=1, rate=10), [seen])
    assert seen.numbers == list(range(10))


def test_a_frame_shown_for_long_stands_for_all_its_instants(tmp_path: Path) -> None:
    seen = Witness(rate=10.0)
    decode_video(write_clip(tmp_path / "a.mp4", times=[0, 0.05, 0.1, 0.55, 0.6]), [seen])
    assert seen.numbers == [0, 2, 4]


@given(
    st.lists(st.floats(0.004, 2.0), min_size=1, max_size=40),
    st.sampled_from([1.0, 4.0, 8.0, 23.976, 25.0, 30.0]),
)
def test_sampling_picks_exactly_the_frames_on_show_at_an_instant(steps: list[float], rate: float) -> None:
    ends = np.cumsum(steps)
    begins = ends - steps
    instants = np.arange(int(ends[-1] * rate) + 2) / rate
    for begin, end in zip(begins, ends, strict=True):
        if np.abs(instants - begin).min() < 1e-5 or np.abs(instants - end).min() < 1e-5:
            continue
        expected = bool(((instants >= begin) & (instants < end)).any())
        assert is_current_at_instant(rate, begin, end) == expected


@given(frame_times, st.sampled_from([8, 25]))
def test_the_following_frames_are_those_the_reference_chooses(times: list[Fraction], rate: int) -> None:
    assert taken(times, rate) == sorted(set(chosen_by_the_reference(times, rate)))


def test_a_frame_that_is_shown_for_long_is_handed_over_though_another_began_at_no_later_instant() -> None:
    times = [Fraction(n, 30) for n in range(31)] + [Fraction(5), Fraction(151, 30)]
    assert chosen_by_the_reference(times, 8)[-3:] == [31, 31, 31]
    assert taken(times, 8)[-3:] == [27, 30, 31]
    assert taken(times[:-1], 8, ends=10.0)[-1] == 31


def test_both_of_mmaudios_rates_see_the_references_frames_of_a_real_clip_in_one_decoding() -> None:
    clip = shipped_clip("carphone_pristine.mp4")  # 29.97 frames a second
    with av.open(str(clip)) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    eight, twenty_five = (Witness(rate, None, str(rate), FrameChoice.NEXT) for rate in (8.0, 25.0))
    on_show, every = Witness(25.0, None, "on show"), Witness(name="every")
    info = probe(clip)
    with counted_opens(clip) as opens:
        decode_video(clip, [eight, twenty_five, on_show, every], info)
        assert opens() == 1
    for seen in (eight, twenty_five):
        numbers = chosen_by_the_reference(times, int(seen.sampling.rate or 0))
        assert seen.times == pytest.approx([float(times[number]) for number in numbers])
        assert np.array_equal(seen.frames, [every.frames[number] for number in numbers])
    assert on_show.times != twenty_five.times


def test_frames_are_scaled_to_the_long_side_and_never_enlarged(tmp_path: Path) -> None:
    small, same, large = Witness(1, 80, "small"), Witness(1, None, "same"), Witness(1, 4000, "large")
    decode_video(write_clip(tmp_path / "a.mp4"), [small, same, large])
    assert small.frames[0].shape == (60, 80, 3)
    assert same.frames[0].shape == large.frames[0].shape == (120, 160, 3)


def test_what_an_observer_sees_depends_on_no_other_observer(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    alone, together = Witness(None, 80), Witness(None, 80)
    decode_video(clip, [alone])
    decode_video(clip, [together, Witness(5, 120, "b"), Witness(None, None, "c")])
    assert np.array_equal(alone.frames, together.frames)
    assert alone.times == together.times


def test_decord_decodes_a_plain_file_and_pyav_shows_the_very_same(tmp_path: Path, request) -> None:
    clip = write_clip(tmp_path / "a.mp4", options={"bf": "2", "g": "10", "preset": "fast"}, seconds=2)
    seen = Witness(None, 96)
    assert decode_video(clip, [seen]).decoder == "decord"
    request.getfixturevalue("no_decord")
    showing = DecodingPass(clip, probe(clip), lambda *_: True)
    pictures = [(picture.time, picture.rgb((96, 72))) for picture in showing]
    assert showing.decoder == "pyav"
    assert seen.times == pytest.approx([time for time, _ in pictures], abs=1e-9)
    assert np.array_equal(seen.frames, [frame for _, frame in pictures])


@pytest.mark.skipif(not WHALE.exists(), reason="the whale clip is not beside this checkout")
def test_hidden_frames_of_the_whale_clip_are_not_shown() -> None:
    seen = Witness(None, 64)
    footage = decode_video(WHALE, [seen])
    assert footage.decoder == "pyav"
    assert len(seen.frames) == 251
    assert seen.times == pytest.approx([i / 25 for i in range(251)])


def test_hidden_frames_before_and_after_the_shown_ones_stay_hidden(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=2, options={"g": "12"})
    seen = Witness()
    decode_video(edit_list(clip, [(0.6, 0.52)]), [seen])
    assert seen.numbers == list(range(13, 28))
    assert seen.times == pytest.approx([i / 25 for i in range(15)])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_rate_keeps_its_times(tmp_path: Path, suffix: str) -> None:
    times = [0, 0.04, 0.1, 0.2, 0.21, 0.5, 0.9]
    seen = Witness()
    decode_video(write_clip(tmp_path / f"a.{suffix}", times=times), [seen])
    assert seen.numbers == list(range(7))
    assert seen.times == pytest.approx(times, abs=0.0006)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_video_is_seen_upright(tmp_path: Path, rotation: int) -> None:
    seen = Witness()
    decode_video(write_clip(tmp_path / "a.mp4", rotation=rotation), [seen])
    # Turned back anticlockwise by as much, the frames read as they were coded.
    assert [read_number(np.rot90(frame, rotation // 90)) for frame in seen.frames] == list(range(25))


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    seen = Witness()
    decode_video(write_clip(tmp_path / "a.mp4", size=(180, 144), aspect=Fraction(16, 15)), [seen])
    assert seen.frames[0].shape == (144, 192, 3)
    assert seen.numbers == list(range(25))


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
def test_what_archives_have_is_shown_frame_by_frame(tmp_path: Path, name: str, options) -> None:
    seen = Witness()
    footage = decode_video(write_clip(tmp_path / name, **options), [seen])
    assert seen.numbers == list(range(25))
    assert seen.times == pytest.approx([i / 25 for i in range(25)], abs=1e-6)
    assert footage.damage is None


def combed(time: float) -> NDArray[np.uint8]:
    """Two fields a fiftieth apart: a bright bar that moves right, odd lines later than even ones."""
    picture = np.full((120, 160, 3), 40, np.uint8)
    for field in (0, 1):
        left = int((time + field / 50) * 150)
        picture[field::2, left : left + 20] = 220
    return picture


def test_interlaced_material_is_seen_without_combs(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=0.8, frames=combed, interlaced=True, options={"crf": "4"})
    seen = Witness()
    decode_video(clip, [seen])
    assert len(seen.frames) == 20
    assert seen.times == pytest.approx([i / 25 for i in range(20)])
    for time, frame in zip(seen.times[2:18], seen.frames[2:18], strict=True):
        assert combing(frame) < 0.3 * combing(combed(time))


def combing(picture: NDArray[np.uint8]) -> float:
    lines = picture.astype(float)
    return float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean())


def test_one_frame_is_seen(tmp_path: Path) -> None:
    seen = Witness(rate=8.0)
    assert decode_video(write_clip(tmp_path / "a.mp4", seconds=0.04), [seen]).frames == 1
    assert (seen.numbers, seen.times) == ([0], [0.0])


def test_a_file_cut_off_in_the_middle_is_seen_as_far_as_it_goes_and_the_footage_says_so(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=4, container_options={"movflags": "faststart"})
    seen = Witness()
    footage = decode_video(cut_off(clip, 0.6), [seen])
    assert seen.numbers[:10] == list(range(10))
    assert 10 < footage.frames < 90
    assert footage.damage is not None
    assert "ends before" in footage.damage


def test_damage_in_the_middle_is_stepped_over_and_told(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", seconds=4, options={"g": "10"})
    seen = Witness()
    footage = decode_video(scratch(clip, 0.4, 0.5), [seen])
    assert seen.numbers[:10] == list(range(10))
    assert seen.numbers[-10:] == list(range(90, 100))
    assert seen.times == sorted(seen.times)
    assert footage.damage is not None


def test_where_no_frame_decodes_the_source_is_corrupt(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", container_options={"movflags": "faststart"})
    info = probe(clip)
    size = clip.stat().st_size
    scratch(clip, (clip.read_bytes().index(b"mdat") + 8) / size, 1.0)
    with pytest.raises(DeepSoundError) as caught:
        decode_video(clip, [Witness()], info)
    assert caught.value.code is ErrorCode.SOURCE_CORRUPT


def test_two_observers_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="share a name"):
        decode_video(write_clip(tmp_path / "a.mp4", seconds=0.2), [Witness(), Witness()])


def test_looking_without_observers_still_counts_frames(tmp_path: Path) -> None:
    assert decode_video(write_clip(tmp_path / "a.mp4"), []).frames == 25


def test_a_thin_picture_keeps_at_least_one_pixel(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "a.mp4", size=(640, 2), codec="mpeg4", seconds=0.2))
    assert scaled_size(info, 64) == (64, 1)


def test_observations_are_stored_and_read_back_whole(tmp_path: Path) -> None:
    kept = {
        "flow": {"time": np.arange(3.0), "score": np.array([[1, 2], [3, 4]], np.uint8).T},
        "faces": {"count": np.array(7)},
        "blind": {},
    }
    save_observations(kept, tmp_path / "a.safetensors")
    read = load_observations(tmp_path / "a.safetensors")
    assert set(read) == set(kept)
    assert np.array_equal(read["flow"]["score"], kept["flow"]["score"])
    assert read["flow"]["score"].dtype == np.uint8
    assert (read["faces"]["count"].shape, read["faces"]["count"]) == ((), 7)
    assert read["blind"] == {}


def test_what_is_stored_is_read_where_it_is_looked_at(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).standard_normal((4096, 512))
    save_observations({"a": {"x": stored}}, tmp_path / "kept")
    read = load_observations(tmp_path / "kept")
    (tmp_path / "kept").unlink()
    tracemalloc.start()
    some = read["a"]["x"][1000:1002].copy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(some, stored[1000:1002])
    assert peak < stored.nbytes / 100


def test_more_than_the_memory_holds_can_be_mapped(tmp_path: Path) -> None:
    path, held = tmp_path / "kept", psutil.virtual_memory().total + psutil.swap_memory().total
    save_observations({"a": {"x": np.zeros(8, np.uint8)}}, path)
    told, size = path.read_bytes(), 2 * held // 8 * 8
    end = 8 + int.from_bytes(told[:8], "little")
    header = json.loads(told[8:end])
    header["a/x"] |= {"shape": [size], "data_offsets": [0, size]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + size)  # which takes no room: it is one hole
    last = load_observations(path)["a"]["x"][-1:]
    last[:] = 1
    assert last == 1


def test_equal_observations_give_equal_bytes(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal(100)
    save_observations({"a": {"x": array, "y": array[:3]}, "b": {"z": array}}, tmp_path / "1")
    save_observations({"b": {"z": array.copy()}, "a": {"y": array[:3], "x": array}}, tmp_path / "2")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, ErrorCode.ARTIFACT_MISSING),
        (b"", ErrorCode.ARTIFACT_DAMAGED),
        (b"x" * 100, ErrorCode.ARTIFACT_DAMAGED),
    ],
)
def test_stored_observations_that_are_gone_or_damaged_are_refused(tmp_path: Path, content, code) -> None:
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeepSoundError) as caught:
        load_observations(path)
    assert caught.value.code is code


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_named_and_nothing_is_left_on_it(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine does not let its root mount a disk")
    try:
        with pytest.raises(DeepSoundError) as caught:
            save_observations({"a": {"x": np.zeros(2 << 20, np.uint8)}}, disk / "kept")
        assert caught.value.code is ErrorCode.DISK_FULL
        assert str(disk / "kept") in str(caught.value)
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_half_stored_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_observations({"a": {"x": np.arange(1000)}}, path)
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(DeepSoundError) as caught:
        load_observations(path)
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED
