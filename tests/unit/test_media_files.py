"""File names are data, playlists are refused, and results appear whole or not at all."""

import errno
import os
import socket
import stat
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepsound.atomic_write import replacing, sweep_partials
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import audio_format, write_float_wav
from deepsound.media.decode import decode_video
from deepsound.media.extract_audio import extract_audio
from deepsound.media.in_sandbox.demux import open_media
from deepsound.media.loudness import normalise
from deepsound.media.media_files import container_for
from deepsound.media.mux import mux
from deepsound.media.probe import probe
from tests.count_opens import counted_opens
from tests.made_clips import clicks, write_clip

HOSTILE = [
    "-i.mp4",
    "a%d.mp4",
    "a%03d b.mp4",
    "weird:name.mp4",
    "http:evil.mp4",
    "pipe:0.mp4",
    "subfile,,start,0,end,9,,:x.mp4",
    "new\nline.mp4",
    "Ωμέγα 🎬 ё.mp4",
    "quote'\"$(touch x)`.mp4",
    "?*[1].mp4",
    " leading and trailing .mp4",
    "..mp4",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "plain.mp4", seconds=0.4, audio=clicks([0.1], 0.4)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    clip = Path(name)
    info = probe(clip)
    assert info.frames == 10
    assert decode_video(clip, [], info).frames == 10
    sound = Path(name + ".wav")
    extract_audio(clip, info, sound)
    normalise(sound, sound)
    mux(clip, sound, Path("out " + name), info)
    assert probe(Path("out " + name)).frames == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, name + ".wav", "out " + name])


def test_a_name_that_is_no_text_is_a_name(tmp_path: Path) -> None:
    clip = tmp_path / os.fsdecode(b"latin1-\xe9\xff.mp4")
    write_clip(tmp_path / "a.mp4", seconds=0.2).rename(clip)
    assert decode_video(clip, []).frames == 5


def test_a_file_called_minus_is_not_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_float_wav(Path("-"), 8000, 1, [np.zeros((80, 1), np.float32)])
    assert audio_format(Path("-")).samples == 80


def playlists(victim: str) -> dict[str, str]:
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{victim}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile {victim}\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        f"<AdaptationSet><Representation id='1'><BaseURL>{victim}</BaseURL></Representation></AdaptationSet>"
        "</Period></MPD>",
        "imf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
    }


@pytest.mark.parametrize("kind", list(playlists("")))
def test_a_playlist_in_disguise_opens_no_other_file(tmp_path: Path, kind: str) -> None:
    victim = write_clip(tmp_path / "private.mp4", seconds=0.2)
    disguised = tmp_path / "reel.mp4"
    disguised.write_text(playlists(str(victim))[kind])
    with counted_opens(victim) as opens:
        with pytest.raises(DeepSoundError) as caught:
            probe(disguised)
        assert opens() == 0
    assert caught.value.code is ErrorCode.SOURCE_NOT_MEDIA


def test_a_playlist_in_disguise_calls_nobody(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        for kind, text in playlists(address).items():
            disguised = tmp_path / f"{kind}.mp4"
            disguised.write_text(text)
            with pytest.raises(DeepSoundError):
                probe(disguised)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(DeepSoundError) as caught:
        open_media(tmp_path / "a.mp4")
    assert caught.value.code is ErrorCode.SOURCE_NOT_MEDIA


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("healthy")
    sound = clicks([0.1, 0.3], 0.6)
    names = {"a.mp4": "aac", "a.mkv": "flac", "a.ts": "aac", "a.avi": "libmp3lame"}
    return {
        name: write_clip(folder / name, seconds=0.6, audio=sound, audio_codec=codec).read_bytes()
        for name, codec in names.items()
    }


@settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_anywhere_ends_in_a_result_or_in_one_clear_error(
    tmp_path: Path, healthy: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(healthy)))
    content = bytearray(healthy[name])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=20)):
        content[place] = data.draw(st.integers(0, 255))
    clip = tmp_path / name
    clip.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(1, len(content)))])
    write_float_wav(tmp_path / "new.wav", 48_000, 1, [clicks([0.1], 0.3)])
    failure = None
    try:
        info = probe(clip)
        assert decode_video(clip, [], info).frames > 0
        mux(clip, tmp_path / "new.wav", tmp_path / ("out" + container_for(info)), info)
        if info.audio is not None:
            extract_audio(clip, info, tmp_path / "own.wav")
    except DeepSoundError as error:
        failure = error
    assert failure is None or str(failure).startswith(f"{clip}: ")
    assert failure is None or failure.remedy
    assert not list(tmp_path.glob("*.partial"))


# --- writing -----------------------------------------------------------------------------------------------


def test_a_result_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with replacing(target) as partial:
        partial.write_bytes(b"half")
        assert not target.exists()
        assert partial.parent == tmp_path
        partial.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_the_old_result_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(FileNotFoundError), replacing(target) as partial:
        partial.write_bytes((tmp_path / "absent").read_bytes())
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_results_are_readable_by_those_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a.bin") as partial:
            partial.write_bytes(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 251 + ".wav")
    with replacing(target) as partial:
        partial.write_bytes(b"x")
    assert target.read_bytes() == b"x"


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeepSoundError) as caught, replacing(tmp_path / folder / "out.wav"):
        pass
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    assert "out.wav" in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(DeepSoundError) as caught, replacing(tmp_path / "a.bin"):
        Path("/dev/full").write_bytes(b"x")
    assert caught.value.code is ErrorCode.DISK_FULL
    assert list(tmp_path.iterdir()) == []


def test_another_error_of_the_system_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no such device"), replacing(tmp_path / "a.bin"):
        raise OSError(errno.ENODEV, "no such device")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "reels"
    folder.mkdir()
    theirs = [folder / ".download.partial", folder / "a.mp4"]
    for path in theirs:
        path.touch()
    writer = replacing(folder / "a.wav")
    partial = writer.__enter__()
    assert sweep_partials(tmp_path, timedelta(hours=1)) == 0, "it may still be written"
    assert sweep_partials(tmp_path, timedelta(seconds=-1)) == 1
    assert not partial.exists()
    assert sorted(folder.iterdir()) == sorted(theirs)
