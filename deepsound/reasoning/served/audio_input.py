"""The sound a served model is sent: WAV files."""

import io
from dataclasses import dataclass
from pathlib import Path

import soundfile

from deepsound.reasoning.sound_windows import SoundWindow, read_windows
from deepsound.spans import Span

SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True)
class WavWindow:
    """A stretch of the sound in seconds, and its WAV file: mono, 16 kHz, 16 bits."""

    span: Span
    wav: bytes


def wav_windows(audio: Path) -> list[WavWindow]:
    """All of the sound in equal windows. Raises DeepSoundError as `read_windows` does."""
    return [WavWindow(heard.span, _wav(heard)) for heard in read_windows(audio, SAMPLE_RATE)]


def _wav(heard: SoundWindow) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, heard.samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")
    return file.getvalue()
