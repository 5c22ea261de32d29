"""Archive formats through a whole run: new sound, in sync, with the picture copied bit for bit."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deepsound.media.audio import audio_format
from deepsound.media.probe import probe
from deepsound.pipeline import OutcomeKind
from tests.archive_setup import Archive
from tests.made_clips import write_clip
from tests.voiced_clips import shared_clip

pytestmark = pytest.mark.integration

TONE = 0.2 * np.sin(2 * np.pi * 330 * np.arange(48_000) / 48_000).astype(np.float32)

KINDS = {
    "plain.mp4": {},
    "film.mov": {"rate": 24, "audio": TONE},
    "matroska.mkv": {"rate": Fraction(30_000, 1001)},
    "rotated.mp4": {"rotation": 90},
    "variable_rate.mp4": {"times": [0.0, 0.04, 0.3, 0.36, 0.9]},
    "odd.mkv": {"size": (161, 121), "pixel_format": "yuv444p"},
    "interlaced.mkv": {"interlaced": True, "size": (160, 128)},
    "ten_bit.mov": {"pixel_format": "yuv422p10le"},
    "hidden_frames.mp4": {"video_start": -0.2},
    "late_sound.mp4": {"audio": TONE[:24_000], "audio_start": 0.4},
    "old.avi": {"codec": "mpeg4"},
    "one_frame.mp4": {"seconds": 0.04},
}


def video_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_every_kind_of_file_gets_sound_and_keeps_its_picture_bit_for_bit(archive: Archive):
    reels = archive.folder / "reels"
    reels.mkdir()
    for name, kind in KINDS.items():
        write_clip(reels / name, **{"seconds": 1.0, **kind})
    results = {Path(result.source).name: result for result in archive.dub(reels)}
    assert set(results) == set(KINDS)
    for name, result in results.items():
        assert result.outcome is OutcomeKind.DONE, f"{name}: {result.error}"
        source, delivered = probe(reels / name), probe(result.outputs["video"].path)
        assert video_packets(result.outputs["video"].path) == video_packets(reels / name), name
        assert delivered.frames == source.frames, name
        assert delivered.duration == pytest.approx(source.duration, abs=0.03), name
        assert (delivered.width, delivered.height, delivered.rotation) == (
            source.width,
            source.height,
            source.rotation,
        )
        assert audio_format(result.outputs["audio"].path).samples == round(source.duration * 48_000), name
        assert delivered.audio is not None
        assert delivered.audio.start == pytest.approx(0.0, abs=0.03), name


def test_the_whale_clip_keeps_its_edit_list(archive: Archive):
    clip = shared_clip("whale_edit_list.mp4")
    [result] = archive.dub(clip)
    delivered = probe(result.outputs["video"].path)
    assert result.outcome is OutcomeKind.DONE
    assert (delivered.frames, delivered.hidden_frames) == (251, probe(clip).hidden_frames)
    assert video_packets(result.outputs["video"].path) == video_packets(clip)
    assert audio_format(result.outputs["audio"].path).samples == round(probe(clip).duration * 48_000)
