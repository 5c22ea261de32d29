"""File names are data, playlists are refused, and damaged files give a result or one clear error."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import audio_format, write_float_wav
from deepsound.media.decode import decode_video
from deepsound.media.extract_audio import extract_audio
from deepsound.media.in_sandbox.demux import open_media
from deepsound.media.loudness import normalise
from deepsound.media.loudness_standards import STANDARDS, LoudnessTarget
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
def test_a_hostile_file_name_is_only_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "plain.mp4", seconds=0.4, audio=clicks([0.1], 0.4)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    clip = Path(name)
    info = probe(clip)
    assert info.frames == 10
    assert decode_video(clip, [], info).frames == 10
    sound = Path(name + ".wav")
    extract_audio(clip, info, sound)
    normalise(sound, sound, STANDARDS[LoudnessTarget.EBU_R128])
    mux(clip, sound, Path("out " + name), info)
    assert probe(Path("out " + name)).frames == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, name + ".wav", "out " + name])


def test_a_file_name_that_is_not_utf8_is_accepted(tmp_path: Path) -> None:
    clip = tmp_path / os.fsdecode(b"latin1-\xe9\xff.mp4")
    write_clip(tmp_path / "a.mp4", seconds=0.2).rename(clip)
    assert decode_video(clip, []).frames == 5


def test_a_file_named_minus_is_not_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_disguised_playlist_opens_no_other_file(tmp_path: Path, kind: str) -> None:
    victim = write_clip(tmp_path / "private.mp4", seconds=0.2)
    disguised = tmp_path / "reel.mp4"
    disguised.write_text(playlists(str(victim))[kind])
    with counted_opens(victim) as opens:
        with pytest.raises(DeepSoundError) as caught:
            probe(disguised)
        assert opens() == 0
    assert caught.value.code is ErrorCode.SOURCE_NOT_MEDIA


def test_a_disguised_playlist_opens_no_connection(tmp_path: Path) -> None:
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


def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
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
def test_any_damage_ends_in_a_result_or_one_error_that_names_the_file(
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
