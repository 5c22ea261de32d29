"""Measures programme loudness and true peak (ITU-R BS.1770-5), and normalises sound to a loudness standard."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from av.audio.frame import AudioFrame
from av.filter import Graph

from deepsound.atomic_write import replacing
from deepsound.media.audio import (
    AudioFormat,
    Block,
    audio_format,
    channel_layout,
    packed_frame,
    read_blocks,
    resampled_blocks,
    silence,
    write_float_wav,
)
from deepsound.media.loudness_standards import LoudnessStandard

_GATE_LUFS: Final = -70.0  # the absolute gate of BS.1770; sound that stays below it has no loudness
_OVERSAMPLING: Final = 4
_TAIL_SECONDS: Final = 0.2  # silence added so that the meter's last step covers the last sample
_PASSES: Final = 8
_GOAL_LU: Final = 0.05  # deviation from the target at which the passes stop
_MARGIN_DB: Final = 0.1
_LEAST_EFFECT: Final = 0.25  # share of a rise in gain that must arrive as loudness


@dataclass(frozen=True, slots=True)
class Loudness:
    """Integrated loudness in LUFS and true peak in dBTP.

    `integrated_lufs` is None for sound that is too quiet or too short (under 0.4 s) to have a loudness;
    `true_peak_dbtp` is None for digital silence.
    """

    integrated_lufs: float | None
    true_peak_dbtp: float | None

    def meets(self, standard: LoudnessStandard) -> bool:
        """Whether loudness and true peak conform to a standard."""
        return standard.is_met_by(self.integrated_lufs, self.true_peak_dbtp)


@dataclass(frozen=True, slots=True)
class Normalised:
    """Result of `normalise`: measurements before and after, the gain applied, and whether peaks were limited."""

    before: Loudness
    after: Loudness
    gain_db: float
    limited: bool


def measure_loudness(path: Path) -> Loudness:
    """Measure a sound file. Raises what `audio_format` raises."""
    sound = audio_format(path)
    integrated: float | None = None
    highest = [0.0]
    for end, metadata in _metered(path, sound, highest):
        highest.append(float(metadata["lavfi.r128.true_peak"]))
        if end <= sound.samples:
            integrated = float(metadata["lavfi.r128.I"])
    peak = max(highest)
    return Loudness(
        integrated if integrated is not None and integrated > _GATE_LUFS else None,
        20 * math.log10(peak) if peak else None,
    )


def normalise(source: Path, target: Path, standard: LoudnessStandard) -> Normalised:
    """Write `source` with the loudness and true peak of a standard, as float WAV of the same length.

    Applies one gain, and where peaks would exceed the limit, a look-ahead limiter at four times the sampling rate.
    Sound that consists mostly of peaks may stay quieter, which the result reports. Sound with no loudness keeps
    its level. Raises what `audio_format` and `write_float_wav` raise.
    """
    before = measure_loudness(source)
    gain = 0.0 if before.integrated_lufs is None else standard.lufs - before.integrated_lufs
    limit = standard.true_peak_dbtp - _MARGIN_DB if _exceeds_peak(before, gain, standard) else None
    with replacing(target) as partial:
        after = _render(source, partial, gain, limit)
        last: tuple[float, Loudness] | None = None
        for _ in range(_PASSES):
            excess = (after.true_peak_dbtp or _GATE_LUFS) - standard.true_peak_dbtp
            miss = standard.lufs - (after.integrated_lufs or standard.lufs)
            if excess > 0:
                limit = standard.true_peak_dbtp - _MARGIN_DB if limit is None else limit - excess - _MARGIN_DB
            elif abs(miss) > _GOAL_LU and not _is_futile(last, (gain, after)):
                last = gain, after
                gain += miss
            else:
                break
            after = _render(source, partial, gain, limit)
    return Normalised(before, after, gain, limit is not None)


def _is_futile(last: tuple[float, Loudness] | None, now: tuple[float, Loudness]) -> bool:
    """Whether the limiter cancelled most of the last rise in gain, so that more gain would only flatten peaks."""
    if now[1].integrated_lufs is None:
        return True
    if last is None or last[1].integrated_lufs is None:
        return False
    rise = now[0] - last[0]
    return rise > 0 and now[1].integrated_lufs - last[1].integrated_lufs < _LEAST_EFFECT * rise


def _exceeds_peak(before: Loudness, gain: float, standard: LoudnessStandard) -> bool:
    return before.true_peak_dbtp is not None and before.true_peak_dbtp + gain > standard.true_peak_dbtp


def _render(source: Path, target: Path, gain_db: float, limit_dbtp: float | None) -> Loudness:
    sound = audio_format(source)
    factor = np.float32(10 ** (gain_db / 20))
    blocks = (block * factor for block in read_blocks(source, sound.sample_rate))
    if limit_dbtp is not None:
        blocks = _limited(blocks, sound, limit_dbtp)
    write_float_wav(target, sound.sample_rate, sound.channels, blocks)
    return measure_loudness(target)


def _limited(blocks: Iterable[Block], sound: AudioFormat, limit_dbtp: float) -> Iterator[Block]:
    """Yield the blocks with true peaks kept below a limit, without delay and of the same length."""
    fast = sound.sample_rate * _OVERSAMPLING
    limit = 10 ** (limit_dbtp / 20)
    arguments = f"limit={limit:.6f}:attack=5:release=80:level=false:latency=true"
    oversampled = resampled_blocks(blocks, sound.sample_rate, fast)
    limited = (_samples(frame) for frame in _filtered(oversampled, fast, sound.channels, "alimiter", arguments))
    return resampled_blocks(limited, fast, sound.sample_rate)


def _metered(path: Path, sound: AudioFormat, highest: list[float]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the meter's readings, each with the number of samples it covers.

    The meter rounds peaks to a thousandth of full scale, so the exact sample peaks are added to `highest`, for
    quiet sound.
    """
    tail = silence(round(_TAIL_SECONDS * sound.sample_rate), sound.channels)
    blocks = _recording_peaks(chain(read_blocks(path, sound.sample_rate), tail), highest)
    arguments = "peak=true:metadata=1"
    for frame in _filtered(blocks, sound.sample_rate, sound.channels, "ebur128", arguments):
        if "lavfi.r128.I" in frame.metadata:
            tick = frame.time_base or Fraction(1, sound.sample_rate)
            yield round((frame.pts or 0) * tick * sound.sample_rate) + frame.samples, frame.metadata


def _recording_peaks(blocks: Iterable[Block], highest: list[float]) -> Iterator[Block]:
    for block in blocks:
        highest.append(float(np.abs(block).max(initial=0.0)))
        yield block


def _filtered(
    blocks: Iterable[Block], rate: int, channels: int, name: str, arguments: str
) -> Iterator[AudioFrame]:
    layout = channel_layout(channels)
    graph = Graph()
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout=layout, time_base=Fraction(1, rate))
    graph.link_nodes(source, graph.add(name, arguments), graph.add("abuffersink")).configure()
    position = 0
    for block in blocks:
        graph.push(packed_frame(block, rate, layout, position))
        position += len(block)
        yield from _pulled(graph)
    graph.push(None)
    yield from _pulled(graph)


def _pulled(graph: Graph) -> Iterator[AudioFrame]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        if isinstance(frame, AudioFrame):
            yield frame


def _samples(frame: AudioFrame) -> Block:
    values = np.asarray(frame.to_ndarray(), np.float32)
    return values.T if frame.format.is_planar else values.reshape(frame.samples, -1)
