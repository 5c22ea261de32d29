"""Muxing copies the picture's packets, keeps their presentation times, and puts the new audio in sync."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import audio_format, read_blocks, write_float_wav
from deepsound.media.extract_audio import extract_audio
from deepsound.media.in_sandbox.demux import open_media
from deepsound.media.in_sandbox.edit_lists import read_edit_lists
from deepsound.media.media_files import FORMATS, MEDIA_TYPES, container_for
from deepsound.media.media_info import VideoInfo
from deepsound.media.mux import mux
from deepsound.media.probe import probe
from tests.frame_probe import shown, stored_packets
from tests.made_clips import clicks, cut_off, edit_list, tone, write_clip

WHALE = Path(__file__).parents[3] / "shared/media/whale_edit_list.mp4"
REORDERED = {"bf": "2", "g": "12", "preset": "fast"}


def sound(path: Path, seconds: float, times: list[float], rate: int = 48_000, channels: int = 2) -> Path:
    write_float_wav(path, rate, channels, [clicks(times, seconds, rate, channels)])
    return path


def click_times(path: Path, info: VideoInfo) -> list[float]:
    target = path.with_name("heard.wav")
    rate = extract_audio(path, info, target).sample_rate
    heard = np.abs(np.concatenate(list(read_blocks(target, 1 << 20)))).max(axis=1)
    loud = np.flatnonzero(heard > 0.4)
    return [loud[i] / rate for i in range(len(loud)) if i == 0 or loud[i] - loud[i - 1] > rate // 50]


def dubbed(clip: Path, times: list[float], rate: int = 48_000, channels: int = 2) -> tuple[Path, VideoInfo]:
    """Mux a clip with clicks for its audio; return the result and its description."""
    info = probe(clip)
    audio = sound(clip.with_suffix(".new.wav"), info.duration, times, rate, channels)
    target = clip.with_name("dubbed" + container_for(info))
    mux(clip, audio, target, info)
    return target, probe(target)


ARCHIVE = {
    "plain.mp4": {"options": REORDERED, "audio": tone(300, 1.0)},
    "plain.mkv": {"options": REORDERED, "audio": tone(300, 1.0)},
    "film.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le", "size": (128, 96)},
    "ten_bit.mp4": {"pixel_format": "yuv422p10le"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none", "preset": "ultrafast"}},
    "ntsc.mp4": {"rate": Fraction(30000, 1001), "options": REORDERED},
    "ntsc.mkv": {"rate": Fraction(24000, 1001)},
    "variable.mp4": {"times": [0, 0.04, 0.1, 0.2, 0.21, 0.5, 0.9]},
    "variable.mkv": {"times": [0, 0.04, 0.1, 0.2, 0.21, 0.5, 0.9]},
    "rotated.mp4": {"rotation": 90},
    "wide_pixels.mp4": {"size": (180, 144), "aspect": Fraction(16, 15)},
    "interlaced.mp4": {"interlaced": True},
    "odd.avi": {"codec": "mpeg4", "size": (161, 121)},
    "reordered.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "lossless.avi": {"codec": "huffyuv", "pixel_format": "yuv422p"},
    "raw.avi": {"codec": "rawvideo"},
    "windows.wmv": {"codec": "wmv2"},
    "flash.flv": {"codec": "flv"},
    "web.webm": {"codec": "libvpx", "seconds": 0.4},
    "tape.dv": {"codec": "dvvideo", "size": (720, 576), "seconds": 0.4},
    "broadcast.mxf": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "dvd.mpg": {"codec": "mpeg2video", "interlaced": True, "audio": tone(300, 1.0), "audio_codec": "mp2"},
    "late.mp4": {"video_start": 0.4, "audio": tone(300, 1.0)},
    "late.mkv": {"video_start": 0.4, "audio": tone(300, 1.0)},
    "one_frame.mp4": {"seconds": 0.04},
    "hidden.mp4": {"video_start": -0.4, "options": REORDERED},
    "negative_offsets.mp4": {"options": REORDERED, "container_options": {"movflags": "negative_cts_offsets"}},
    "fragments.mp4": {"options": REORDERED, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "no_edit_list.mp4": {"options": REORDERED, "container_options": {"use_editlist": "0"}},
    "-i a%d:\n.mp4": {},
}


@pytest.mark.parametrize("name", list(ARCHIVE))
def test_the_picture_is_copied_bit_for_bit_and_keeps_its_times(tmp_path: Path, name: str) -> None:
    clip = _made(tmp_path, name)
    result, info = dubbed(clip, [])
    assert stored_packets(result) == stored_packets(clip)
    before, after = shown(clip), shown(result)
    assert [number for _, number in after] == [number for _, number in before]
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=1e-6)
    was = probe(clip)
    assert (info.width, info.height, info.rotation, info.interlaced) == (
        was.width,
        was.height,
        was.rotation,
        was.interlaced,
    )
    assert info.duration == pytest.approx(was.duration, abs=1e-6)
    assert info.audio is not None


def _made(folder: Path, name: str) -> Path:
    made = write_clip(folder / f"made{Path(name).suffix}", **ARCHIVE[name])
    return made.rename(folder / name)


@pytest.mark.parametrize("name", list(ARCHIVE))
def test_the_audio_is_in_sync_within_a_millisecond(tmp_path: Path, name: str) -> None:
    clip = _made(tmp_path, name)
    duration = probe(clip).duration
    times = [time for time in (0.0, 0.1, 0.25, 0.55, 0.8) if time < duration - 0.05]
    assert click_times(*dubbed(clip, times)) == pytest.approx(times, abs=0.001)


EDITS = {
    "both ends trimmed": [(0.6, 0.4)],
    "end trimmed": [(1.0, 0.08)],
    "starts on a frame that is not a keyframe": [(0.6, 0.52)],
    "two pieces": [(0.4, 0.08), (0.4, 1.28)],
    "later piece first": [(0.4, 1.28), (0.4, 0.08)],
    "starts with an empty edit": [(0.3, None), (1.0, 0.48)],
    "starts between two frames": [(0.5, 0.505)],
}


@pytest.mark.parametrize("edits", list(EDITS.values()), ids=list(EDITS))
def test_an_edit_list_is_copied_entry_by_entry(tmp_path: Path, edits: list[tuple[float, float | None]]) -> None:
    clip = edit_list(write_clip(tmp_path / "a.mp4", seconds=2, options=REORDERED), edits)
    result, _ = dubbed(clip, [0.1, 0.3])
    assert stored_packets(result) == stored_packets(clip)
    assert shown(result) == shown(clip)
    before, after = read_edit_lists(clip), read_edit_lists(result)
    assert before is not None
    assert after is not None
    assert after[1] == before[1]
    assert click_times(result, probe(result)) == pytest.approx([0.1, 0.3], abs=0.001)


@pytest.mark.skipif(not WHALE.exists(), reason="the whale clip is not beside this checkout")
def test_the_whale_clip_keeps_its_hidden_frames_hidden(tmp_path: Path) -> None:
    target = tmp_path / "whale.mp4"
    mux(WHALE, sound(tmp_path / "a.wav", 10.04, [0.5, 9.5]), target)
    assert stored_packets(target) == stored_packets(WHALE)
    was, info = probe(WHALE), probe(target)
    assert (info.frames, info.hidden_frames) == (251, 55)
    assert (info.duration, info.start) == (was.duration, was.start)
    with open_media(WHALE) as source, open_media(target) as result:
        both = [[(p.pts, p.dts, p.duration) for p in c.demux(video=0)] for c in (source, result)]
    assert both[0] == both[1]
    assert click_times(target, info) == pytest.approx([0.5, 9.5], abs=0.001)


def test_a_first_frame_that_is_shown_very_late_is_shown_at_zero(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "recorder.mp4", video_start=86_400.0, container_options={"movflags": "frag_keyframe"}
    )
    result, info = dubbed(clip, [0.5])
    assert info.start == 0.0
    assert result.stat().st_size < 100_000
    assert click_times(result, info) == pytest.approx([0.5], abs=0.001)


@pytest.mark.parametrize("name", ["a.ts", "a.avi"])
def test_only_start_codes_change_into_lengths(tmp_path: Path, name: str) -> None:
    clip = write_clip(tmp_path / name, options=REORDERED)
    result, _ = dubbed(clip, [])
    started = [units_after_start_codes(packet) for packet in stored_packets(clip)]
    assert started == [units_after_lengths(packet) for packet in stored_packets(result)]
    assert np.array(shown(result)) == pytest.approx(np.array(shown(clip)), abs=1e-6)


def units_after_start_codes(packet: bytes) -> list[bytes]:
    return [unit.rstrip(b"\0") for unit in packet.split(b"\0\0\1") if unit.strip(b"\0")]


def units_after_lengths(packet: bytes) -> list[bytes]:
    units = []
    while packet:
        end = 4 + int.from_bytes(packet[:4], "big")
        units.append(packet[4:end].rstrip(b"\0"))
        packet = packet[end:]
    return units


@pytest.mark.parametrize(
    ("container", "codec", "suffix"),
    [
        ("mp4", "h264", ".mp4"),
        ("mov", "prores", ".mov"),
        ("mov", "h264", ".mov"),
        ("matroska", "h264", ".mkv"),
        ("avi", "mpeg4", ".mp4"),
        ("mpegts", "h264", ".mp4"),
        ("mpeg", "mpeg2video", ".mkv"),
        ("mxf", "dnxhd", ".mov"),
        ("dv", "dvvideo", ".mov"),
        ("asf", "wmv2", ".mkv"),
    ],
)
def test_the_container_is_the_sources_or_one_that_can_carry_the_codec(
    tmp_path: Path, container: str, codec: str, suffix: str
) -> None:
    info = VideoInfo(container, codec, "yuv420p", 2, 2, 0, False, Fraction(25), False, 1, 0.0, 0.04, None)
    assert container_for(info) == suffix


def test_every_result_container_has_a_media_type() -> None:
    assert MEDIA_TYPES.keys() == FORMATS.keys()


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (48_000, 6), (96_000, 2), (37_800, 2), (192_000, 2)])
def test_any_sampling_rate_and_number_of_channels_is_accepted(tmp_path: Path, rate: int, channels: int) -> None:
    result, info = dubbed(write_clip(tmp_path / "a.mp4"), [0.25, 0.5], rate, channels)
    assert info.audio is not None
    assert info.audio.channels == channels
    assert click_times(result, info) == pytest.approx([0.25, 0.5], abs=0.001)


def test_matroska_keeps_24_bits_of_the_audio(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv")
    heard = np.random.default_rng(0).uniform(-0.99, 0.99, (48_000, 2)).astype(np.float32)
    write_float_wav(tmp_path / "a.wav", 48_000, 2, [heard])
    mux(clip, tmp_path / "a.wav", tmp_path / "b.mkv")
    extract_audio(tmp_path / "b.mkv", probe(tmp_path / "b.mkv"), tmp_path / "back.wav")
    back = np.concatenate(list(read_blocks(tmp_path / "back.wav", 1 << 20)))
    assert np.abs(back - heard).max() <= 1 / (1 << 23)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_the_audio_keeps_its_last_sample(tmp_path: Path, name: str) -> None:
    result, info = dubbed(write_clip(tmp_path / name, seconds=1.24), [])
    assert info.audio is not None
    assert info.audio.duration == pytest.approx(1.24, abs=0.001)
    extract_audio(result, info, tmp_path / "back.wav")
    assert audio_format(tmp_path / "back.wav").samples == round(1.24 * 48_000)


def test_the_old_audio_is_dropped(tmp_path: Path) -> None:
    result, _ = dubbed(write_clip(tmp_path / "a.mp4", audio=tone(300, 1.0)), [])
    with open_media(result) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert not heard.any()


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mov_text"), ("a.mov", "mov_text"), ("a.mkv", "subrip")])
def test_subtitles_are_copied_with_their_times(tmp_path: Path, name: str, codec: str) -> None:
    clip = with_subtitles(write_clip(tmp_path / "plain.mp4"), tmp_path / name, codec)
    result, _ = dubbed(clip, [])
    assert subtitles(result) == subtitles(clip) != []


def with_subtitles(clip: Path, target: Path, codec: str) -> Path:
    texts = [(0.2, 0.2, b"first"), (0.6, 0.3, b"second")]
    with av.open(str(clip)) as source, av.open(str(target), "w") as result:
        video = result.add_stream_from_template(source.streams.video[0], opaque=True)
        text = result.add_mux_stream(codec, time_base=Fraction(1, 1000))
        result.start_encoding()
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                result.mux(packet)
        for start, duration, words in texts:
            packet = av.Packet(len(words).to_bytes(2, "big") + words if codec == "mov_text" else words)
            packet.stream = text
            packet.time_base = Fraction(1, 1000)
            packet.pts = packet.dts = round(start * 1000)
            packet.duration = round(duration * 1000)
            packet.is_keyframe = True
            result.mux(packet)
    return target


def subtitles(path: Path) -> list[tuple[float, bytes]]:
    with open_media(path) as container:
        stream = container.streams.subtitles[0]
        return [(float(p.pts * stream.time_base), bytes(p)) for p in container.demux(stream) if p.size > 2]


@pytest.mark.parametrize("name", ["a.mov", "a.mp4", "a.mkv"])
def test_title_chapters_and_timecode_are_copied(tmp_path: Path, name: str) -> None:
    clip = tmp_path / name
    with av.open(str(write_clip(tmp_path / "plain.mp4"))) as source, av.open(str(clip), "w") as result:
        video = result.add_stream_from_template(source.streams.video[0], opaque=True)
        video.codec_context.framerate = Fraction(25)
        video.metadata["timecode"] = "10:00:00:00"
        result.metadata["title"] = "Reel 41"
        second = Fraction(1, 1000)
        result.set_chapters(
            [{"id": 1, "start": 0, "end": 400, "time_base": second, "metadata": {"title": "Departure"}}]
        )
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                result.mux(packet)
    result_path, _ = dubbed(clip, [])
    with open_media(result_path) as container:
        assert container.metadata.get("title") == "Reel 41"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["Departure"]
        metadata = {**container.metadata, **container.streams.video[0].metadata}
        assert {value for key, value in metadata.items() if key.lower() == "timecode"} == {"10:00:00:00"}


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_colour_tags_are_kept(tmp_path: Path, suffix: str) -> None:
    params = "colorprim=bt709:transfer=bt709:colormatrix=bt709:fullrange=on"
    clip = write_clip(tmp_path / f"a.{suffix}", options={"x264-params": params})
    result, _ = dubbed(clip, [])

    def tags(path: Path) -> tuple[int, ...]:
        with open_media(path) as container:
            video = container.streams.video[0]
            return (video.color_primaries, video.color_trc, video.colorspace, video.color_range)

    assert tags(result) == tags(clip) == (1, 1, 1, 2)


def test_equal_audio_and_picture_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        clip = write_clip(tmp_path / name)
        audio = sound(tmp_path / "a.wav", 1.0, [0.5])
        one, two = tmp_path / f"1{clip.suffix}", tmp_path / f"2{clip.suffix}"
        mux(clip, audio, one)
        mux(clip, audio, two)
        assert one.read_bytes() == two.read_bytes()


def test_a_truncated_file_gets_audio_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=4, container_options={"movflags": "faststart"})
    info = probe(cut_off(clip, 0.6))
    audio = sound(tmp_path / "a.wav", info.duration, [0.5])
    mux(clip, audio, tmp_path / "b.mp4", info)
    assert probe(tmp_path / "b.mp4").frames >= info.frames - 1
    assert click_times(tmp_path / "b.mp4", probe(tmp_path / "b.mp4")) == pytest.approx([0.5], abs=0.001)


def test_another_suffix_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    audio = sound(tmp_path / "a.wav", 1.0, [])
    with pytest.raises(DeepSoundError, match=r"\.ogg") as caught:
        mux(clip, audio, tmp_path / "b.ogg")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "a.wav"]


def test_a_codec_that_the_container_can_not_carry_is_named_and_no_file_is_left(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.wmv", codec="wmv2")
    audio = sound(tmp_path / "a.wav", 1.0, [])
    with pytest.raises(DeepSoundError, match=r"a\.wmv: its picture \(wmv2\).*\.mp4") as caught:
        mux(clip, audio, tmp_path / "b.mp4")
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "a.wmv"]


def test_a_missing_audio_file_leaves_no_result(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    with pytest.raises(DeepSoundError) as caught:
        mux(clip, tmp_path / "absent.wav", tmp_path / "b.mp4")
    assert caught.value.code is ErrorCode.SOURCE_MISSING
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
