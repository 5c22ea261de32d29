"""Cuts the audio for a chat model into equal windows."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsound.errors import ModelFailedError
from deepsound.media.audio import audio_format, read_mono
from deepsound.spans import Span

MAX_WINDOW_SECONDS = 30.0
"""Most audio encoders accept no more at once."""

MAX_WINDOWS = 60


@dataclass(frozen=True, slots=True)
class SoundWindow:
    """A time window of the audio and its mono samples (n,), full scale ±1."""

    span: Span
    samples: NDArray[np.float32]


def read_windows(audio: Path, sample_rate: int) -> list[SoundWindow]:
    """Read all of the sound as mono, in as few equal windows as `MAX_WINDOW_SECONDS` allows.

    Equal windows leave no short remainder at the end.

    Raises ModelFailedError beyond `MAX_WINDOWS`, and the errors of reading.
    """
    duration = audio_format(audio).duration
    count = max(math.ceil(duration / MAX_WINDOW_SECONDS), 1)
    if count > MAX_WINDOWS:
        raise ModelFailedError(
            f"{duration / 60:.0f} minutes of sound are more than a chat model is given "
            f"({MAX_WINDOWS * MAX_WINDOW_SECONDS / 60:.0f})",
            where=str(audio),
            remedy="cut the video into parts, or judge it with the evidence reasoner",
        )
    samples = math.ceil(round(duration * sample_rate) / count)
    windows: list[SoundWindow] = []
    end = 0.0
    for block in read_mono(audio, sample_rate, max(samples, 1) / sample_rate):
        start, end = end, end + len(block) / sample_rate
        windows.append(SoundWindow(Span(start, end), block))
    return windows
