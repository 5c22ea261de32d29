"""What the model hears: eight windows of two seconds, one after the other, in a silence of thirty.

The windows are the reference's: they begin (duration − 2) / 8 apart, so they overlap in short clips and the last
such step is not heard. Samples are rounded to 16 bits, and the filter bank to bfloat16, as the model was run.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepsound.media.audio import audio_format, read_span, resampled_blocks
from deepsound.reasoning.videollama2.fbank import SAMPLE_RATE, fbank

_WINDOWS = 8
_WINDOW_SECONDS = 2.0
_HEARD_SECONDS = 30
_FULL_SCALE = 2**15
# The resampler's filter reaches over a window's edges.
_MARGIN_SECONDS = 0.05


def window_starts(duration: float) -> tuple[float, ...]:
    """Start of each window in seconds; a clip of two seconds or less is heard whole, eight times."""
    step = max(duration - _WINDOW_SECONDS, 0.0) / _WINDOWS
    return tuple(step * number for number in range(_WINDOWS))


def read_fbank(audio: Path) -> Tensor:
    """Log mel energies (2998, 128) of a sound file, rounded to bfloat16.

    No more of a long file is read than the windows. Raises DeepSoundError as `audio_format` does.
    """
    waves = [np.zeros(0, np.float32), *_windows(audio)]
    whole = np.concatenate(waves)[: _HEARD_SECONDS * SAMPLE_RATE]
    padded = np.pad(whole, (0, _HEARD_SECONDS * SAMPLE_RATE - len(whole)))
    return fbank(torch.from_numpy(padded)).bfloat16()


def _windows(audio: Path) -> Iterator[NDArray[np.float32]]:
    sound = audio_format(audio)
    for start in window_starts(sound.duration):
        yield _mono(audio, sound.sample_rate, start, min(start + _WINDOW_SECONDS, sound.duration))


def _mono(audio: Path, rate: int, start: float, stop: float) -> NDArray[np.float32]:
    """Seconds [start, stop) as 16-bit levels at 16 kHz, full scale ±1."""
    early = max(start - _MARGIN_SECONDS, 0.0)
    first, last = round(early * rate), round((stop + _MARGIN_SECONDS) * rate)
    mono = read_span(audio, first, last).mean(axis=1, keepdims=True)
    resampled = np.concatenate(list(resampled_blocks([mono], rate, SAMPLE_RATE)))[:, 0]
    offset = round(first / rate * SAMPLE_RATE)
    wave = resampled[int(start * SAMPLE_RATE) - offset : int(stop * SAMPLE_RATE) - offset]
    levels = np.round(np.clip(wave, -1, 1 - 1 / _FULL_SCALE) * _FULL_SCALE)
    return (levels / _FULL_SCALE).astype(np.float32)
