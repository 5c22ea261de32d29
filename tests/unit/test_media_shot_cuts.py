"""Cuts are found during the decoding pass."""

from pathlib import Path

import numpy as np
import pytest

from deepsound.media.decode import decode_video
from deepsound.media.shot_cuts import CUTS_OBSERVATION, CutObserver
from tests.made_clips import Frame, write_clip

SIZE = (160, 120)


def picture(seed: int) -> Frame:
    """Return a picture of large random cells; each seed gives another one."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3))
    return np.kron(coarse, np.ones((20, 20, 1))).astype(np.uint8)


def cuts(clip: Path) -> list[float]:
    return decode_video(clip, [CutObserver()]).observations[CUTS_OBSERVATION]["time"].tolist()


def test_a_cut_is_the_time_of_the_frame_that_opens_the_shot(tmp_path: Path) -> None:
    shots = [picture(seed) for seed in range(3)]
    clip = write_clip(
        tmp_path / "clip.mp4", seconds=3.0, size=SIZE, frames=lambda time: shots[(time >= 1.2) + (time >= 2.0)]
    )
    assert cuts(clip) == pytest.approx([1.2, 2.0])


def test_a_cut_keeps_its_time_at_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [*np.arange(0, 1, 0.04).tolist(), *np.arange(1.3, 3.0, 0.1).tolist()]
    clip = write_clip(tmp_path / "clip.mp4", times=times, size=SIZE, frames=lambda time: picture(int(time >= 1.3)))
    assert cuts(clip) == pytest.approx([1.3])


def test_a_moving_camera_a_fade_and_a_still_have_no_cuts(tmp_path: Path) -> None:
    wide = np.hstack([picture(seed) for seed in range(3)])
    moving = write_clip(
        tmp_path / "moving.mp4", seconds=2.0, size=SIZE, frames=lambda time: wide[:, int(time * 100) :][:, :160]
    )
    fading = write_clip(
        tmp_path / "fading.mp4",
        seconds=2.0,
        size=SIZE,
        frames=lambda time: (picture(1) * (time / 2)).astype(np.uint8),
    )
    still = write_clip(tmp_path / "still.mp4", seconds=0.04, size=SIZE)
    assert [cuts(moving), cuts(fading), cuts(still)] == [[], [], []]
