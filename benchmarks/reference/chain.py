"""Steps 0 to 4 around the sound models, in the reference's order of work."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from benchmarks.child_process import Steps
from benchmarks.reference import pictures
from benchmarks.reference.demix import demix
from benchmarks.reference.generation import Generation
from deepsound.generation.mmaudio.networks import Files, Sizes
from deepsound.models.checkpoints import read_state
from deepsound.separation.bs_roformer.config import SAMPLE_RATE, BSRoformerConfig

AGAINST_VOICES = "human voice"
COARSE = "step1.wav"
"""Where a run leaves the coarse sound, in its folder."""


@dataclass(frozen=True, slots=True)
class Sounds:
    """What a run of the chain made, mono (samples,), and CPU-seconds by step. `again`: by the `neg` fallback."""

    coarse: NDArray[np.float32]
    voice: NDArray[np.float32]
    again: NDArray[np.float32]
    cpu: Mapping[str, float]


class ReferenceChain:
    """Loaded once; every call runs one video through everything."""

    def __init__(
        self, sizes: Sizes, files: Files, checkpoint: Path, config: BSRoformerConfig, dtype: torch.dtype
    ) -> None:
        self._generation = Generation(sizes, files, dtype)
        self._separator, self._config = read_state(checkpoint), config
        self._rate = sizes.audio.sample_rate

    def run(self, video: Path, folder: Path, prompt: str, seed: int) -> Sounds:
        """Plan, generate, judge, separate, deliver; and what the `neg` fallback adds: generate against voices."""
        steps = Steps()
        with steps.timed("look"):
            pictures.show_to_the_language_model(video)
        with steps.timed("generate"):
            coarse = self._step_1(video, folder / "step1", prompt, "", seed)
        with steps.timed("look"):
            pictures.show_to_the_language_model(folder / "step1.mp4")
            pictures.play_to_the_language_model(folder / "step1.mp4")
        with steps.timed("separate"):
            voice = self._step_3(folder)
        with steps.timed("deliver"):
            self._deliver(folder)
        with steps.timed("neg"):
            again = self._step_1(video, folder / "again", prompt, AGAINST_VOICES, seed)
        return Sounds(coarse[0], voice, again[0], steps.cpu)

    def _step_1(self, video: Path, stem: Path, prompt: str, negative: str, seed: int) -> NDArray[np.float32]:
        sound, reel = self._generation.generate(video, prompt, negative, seed)
        soundfile.write(stem.with_suffix(".wav"), sound.T, self._rate, subtype="FLOAT")
        pictures.encode(stem.with_suffix(".mp4"), reel, sound, self._rate, "aac")
        return sound

    def _step_3(self, folder: Path) -> NDArray[np.float32]:
        """Both stems as 44.1 kHz stereo; the voice is given back as the mix was, mono at its rate."""
        mix, rate = soundfile.read(folder / COARSE, dtype="float32")
        stereo = np.stack([soxr.resample(mix, rate, SAMPLE_RATE)] * 2)
        voice = demix(self._separator, self._config, stereo)
        soundfile.write(folder / "vocals.wav", voice.T, SAMPLE_RATE, subtype="FLOAT")
        soundfile.write(folder / "instrumental.wav", (stereo - voice).T, SAMPLE_RATE, subtype="FLOAT")
        (folder / "remaining.wav").write_bytes((folder / "instrumental.wav").read_bytes())
        return soxr.resample(voice.mean(axis=0), SAMPLE_RATE, rate)[: len(mix)]

    def _deliver(self, folder: Path) -> None:
        """The final video: pictures decoded and encoded once more."""
        sound, rate = soundfile.read(folder / "remaining.wav", dtype="float32", always_2d=True)
        reel = pictures.decode_all(folder / "step1.mp4")
        pictures.encode(folder / "final.mp4", reel, sound.T, rate, "mp3")
