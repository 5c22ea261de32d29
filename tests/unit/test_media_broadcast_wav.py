"""The deliverable is a Broadcast WAV file of 24 bits, 48 kHz and the exact length of the picture."""

import dataclasses
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from deepsound.media.audio import read_blocks, write_float_wav
from deepsound.media.broadcast_wav import BextMetadata, write_bwf
from tests.made_clips import tone

METADATA = BextMetadata(
    "Reel 41, voice-over removed", "DeepSound", "run-7/item-3", datetime(2026, 11, 23, 4, 5, 6), ("A=AAC,F=44100",)
)


def delivered(tmp_path: Path, sound: NDArray[np.floating], rate: int, duration: float) -> NDArray[np.float32]:
    write_float_wav(tmp_path / "a.wav", rate, sound.shape[1], [sound.astype(np.float32)])
    assert write_bwf(tmp_path / "a.wav", tmp_path / "b.wav", duration, METADATA) == round(duration * 48_000)
    return np.concatenate(list(read_blocks(tmp_path / "b.wav", 1 << 20)))


def chunk(path: Path, kind: bytes) -> bytes:
    data = path.read_bytes()
    at = 12
    while data[at : at + 4] != kind:
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little") + data[at + 4] % 2
    return data[at + 8 :][: int.from_bytes(data[at + 4 : at + 8], "little")]


def test_the_file_is_24_bit_48_khz_pcm(tmp_path: Path) -> None:
    delivered(tmp_path, tone(440, 1.0, channels=2), 48_000, 1.0)
    info = soundfile.info(tmp_path / "b.wav")
    assert (info.subtype, info.samplerate, info.channels, info.frames) == ("PCM_24", 48_000, 2, 48_000)


@pytest.mark.parametrize("duration", [1.0, 0.4, 1.2345678, 2.0])
@pytest.mark.parametrize("rate", [44_100, 48_000, 16_000])
def test_the_file_is_as_long_as_the_picture_to_the_sample(tmp_path: Path, rate: int, duration: float) -> None:
    heard = delivered(tmp_path, tone(440, 1.0, rate), rate, duration)
    assert len(heard) == round(duration * 48_000)
    shown = min(len(heard), 48_000) - 500
    assert np.abs(heard[500:shown] - tone(440, 1.0)[500:shown]).max() < 1e-4
    assert not heard[48_000:].any()


def test_samples_are_rounded_to_the_nearest_24_bit_step(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (4800, 2))
    heard = delivered(tmp_path, sound, 48_000, 0.1)
    assert np.abs(heard - sound).max() <= 0.5 / (1 << 23) + 1e-7


def test_samples_beyond_full_scale_are_clipped_and_never_wrap(tmp_path: Path) -> None:
    heard = delivered(tmp_path, np.linspace(-3, 3, 48_000)[:, None], 48_000, 1.0)
    assert heard.min() == -1
    assert heard.max() == pytest.approx(1, abs=2e-7)
    assert (np.diff(heard[:, 0]) >= 0).all()


def test_silence_is_stored_without_dither(tmp_path: Path) -> None:
    assert not delivered(tmp_path, np.zeros((4800, 2)), 48_000, 0.1).any()


def test_the_bext_chunk_holds_the_metadata(tmp_path: Path) -> None:
    delivered(tmp_path, tone(440, 0.1, channels=2), 48_000, 0.1)
    bext = chunk(tmp_path / "b.wav", b"bext")
    fields = [bext[a:b].rstrip(b"\0").decode() for a, b in pairwise((0, 256, 288, 320, 330, 338))]
    assert fields == ["Reel 41, voice-over removed", "DeepSound", "run-7/item-3", "2026-11-23", "04:05:06"]
    assert int.from_bytes(bext[338:346], "little") == 0
    history = bext[602:].rstrip(b"\0").decode()
    assert history == "A=AAC,F=44100\r\nA=PCM,F=48000,W=24,M=stereo\r\n"


def test_metadata_is_reduced_to_ascii_and_cut_to_the_fields(tmp_path: Path) -> None:
    write_float_wav(tmp_path / "a.wav", 48_000, 1, [tone(440, 0.1)])
    metadata = dataclasses.replace(METADATA, description="Schön\r\n\0 " + "x" * 400, originator="Ω" * 40)
    write_bwf(tmp_path / "a.wav", tmp_path / "b.wav", 0.1, metadata)
    bext = chunk(tmp_path / "b.wav", b"bext")
    assert bext[:256].startswith(b"Sch?n ")
    assert bext[256:288] == b"?" * 32
    assert len(chunk(tmp_path / "b.wav", b"data")) == 4800 * 3


def test_equal_sound_and_metadata_give_equal_bytes(tmp_path: Path) -> None:
    delivered(tmp_path, tone(440, 0.5, 44_100), 44_100, 0.5)
    first = (tmp_path / "b.wav").read_bytes()
    delivered(tmp_path, tone(440, 0.5, 44_100), 44_100, 0.5)
    assert (tmp_path / "b.wav").read_bytes() == first
