"""The sound that a chat model is given: all of it, in equal windows."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsound.errors import ModelFailedError
from deepsound.media.audio import audio_format, read_mono
from deepsound.spans import Span

LONGEST_WINDOW = 30.0
"""Seconds. The encoders inside most audio models hear no more at once."""

MOST_WINDOWS = 60


@dataclass(frozen=True, slots=True)
class Heard:
    """A stretch of the sound in seconds, and its samples (n,), full scale ±1."""

    span: Span
    samples: NDArray[np.float32]


def windows(audio: Path, sample_rate: int) -> list[Heard]:
    """All of the sound, mono, in as few equal windows as `LONGEST_WINDOW` allows, so that no tiny rest is left.

    Raises DeepSoundError: MODEL_FAILED where there would be more than `MOST_WINDOWS`, and what reading raises.
    """
    duration = audio_format(audio).duration
    count = max(math.ceil(duration / LONGEST_WINDOW), 1)
    if count > MOST_WINDOWS:
        raise ModelFailedError(
            f"{duration / 60:.0f} minutes of sound are more than a chat model is given "
            f"({MOST_WINDOWS * LONGEST_WINDOW / 60:.0f})",
            where=str(audio),
            remedy="cut the video into parts, or judge it with the evidence reasoner",
        )
    samples = math.ceil(round(duration * sample_rate) / count)
    heard: list[Heard] = []
    end = 0.0
    for block in read_mono(audio, sample_rate, max(samples, 1) / sample_rate):
        start, end = end, end + len(block) / sample_rate
        heard.append(Heard(Span(start, end), block))
    return heard
