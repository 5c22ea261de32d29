"""The sound a served model is given: WAV files of equal windows."""
# pyright: reportMissingTypeStubs=false

import io
import math
from dataclasses import dataclass
from pathlib import Path

import soundfile

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import audio_format, read_mono
from deepsound.spans import Span

SAMPLE_RATE = 16_000

LONGEST_WINDOW = 30.0
"""Seconds. The Whisper encoders inside most audio models hear no more at once."""

MOST_WINDOWS = 60


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the sound in seconds, and its WAV file: mono, 16 kHz, 16 bits."""

    span: Span
    wav: bytes


def windows(audio: Path) -> list[Window]:
    """All of the sound, in as few equal windows as `LONGEST_WINDOW` allows, so that no tiny rest is left.

    Raises DeepSoundError: MODEL_FAILED where there would be more than `MOST_WINDOWS`, and what reading raises.
    """
    duration = audio_format(audio).duration
    count = max(math.ceil(duration / LONGEST_WINDOW), 1)
    if count > MOST_WINDOWS:
        raise DeepSoundError(
            ErrorCode.MODEL_FAILED,
            f"{duration / 60:.0f} minutes of sound are more than a served model is sent "
            f"({MOST_WINDOWS * LONGEST_WINDOW / 60:.0f})",
            where=str(audio),
            remedy="cut the video into parts, or judge it with the evidence reasoner",
        )
    samples = math.ceil(round(duration * SAMPLE_RATE) / count)
    heard: list[Window] = []
    end = 0.0
    for block in read_mono(audio, SAMPLE_RATE, max(samples, 1) / SAMPLE_RATE):
        file = io.BytesIO()
        soundfile.write(file, block, SAMPLE_RATE, subtype="PCM_16", format="WAV")
        start, end = end, end + len(block) / SAMPLE_RATE
        heard.append(Window(Span(start, end), file.getvalue()))
    return heard
