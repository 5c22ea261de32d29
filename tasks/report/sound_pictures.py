"""A sound as a picture: waveform above spectrogram, with the voice-over spans marked."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # Before pyplot: there may be no screen.

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from deepsound.media.audio import audio_format, read_blocks, read_span
from deepsound.spans import Span

COLUMNS = 900
WINDOW = 2048
FLOOR_DB = -90.0
_MARK = "#d0402b"


def sound_picture(path: Path, spans: Sequence[Span]) -> bytes:
    """PNG of a sound file; every column is read by itself, so long files need no memory."""
    figure, (wave, spectrum) = plt.subplots(
        2, 1, figsize=(7.2, 2.6), height_ratios=(1, 2), sharex=True, layout="constrained"
    )
    sound = audio_format(path)
    rate, length = sound.sample_rate, sound.samples / sound.sample_rate
    low, high = _envelope(path)
    times = np.linspace(0, length, len(low))
    wave.fill_between(times, low, high, color="#33597a", linewidth=0)
    wave.set_ylim(-1, 1)
    wave.set_yticks([])
    spectrum.imshow(
        _spectrogram(path),
        origin="lower",
        aspect="auto",
        extent=(0, length, 0, rate / 2000),
        cmap="magma",
        vmin=FLOOR_DB,
        vmax=0,
    )
    spectrum.set_ylabel("kHz", fontsize=8)
    spectrum.set_xlabel("seconds", fontsize=8)
    for axes in (wave, spectrum):
        axes.tick_params(labelsize=7)
        for span in spans:
            axes.axvspan(span.start, span.end, color=_MARK, alpha=0.28, linewidth=0)
    spectrum.set_xlim(0, length)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    plt.close(figure)
    return picture.getvalue()


def _envelope(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest sample of each column, over all channels."""
    block = max(1, audio_format(path).samples // COLUMNS)
    extremes = [(piece.min(), piece.max()) for piece in read_blocks(path, block) if piece.size]
    low, high = np.array(extremes or [(0.0, 0.0)], np.float32).T
    return low, high


def _spectrogram(path: Path) -> NDArray[np.float64]:
    """(WINDOW / 2 + 1, COLUMNS) in dB re full scale, channels averaged."""
    samples = audio_format(path).samples
    window = np.hanning(WINDOW)
    columns: list[NDArray[np.float64]] = []
    for column in range(COLUMNS):
        start = max(0, round((column + 0.5) * samples / COLUMNS) - WINDOW // 2)
        piece = read_span(path, start, start + WINDOW).mean(axis=1)
        piece = np.pad(piece, (0, WINDOW - len(piece)))
        columns.append(np.abs(np.fft.rfft(piece * window)) / (window.sum() / 2))
    return 20 * np.log10(np.maximum(np.stack(columns, axis=1), 10 ** (FLOOR_DB / 20)))
