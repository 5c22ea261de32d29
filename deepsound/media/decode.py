"""Decodes a video once, in a sandboxed process, and shows every observer the frames it asked for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from deepsound.canonical_json import Json
from deepsound.errors import SourceCorruptError
from deepsound.media.decoder_pool import run_in_sandbox
from deepsound.media.media_info import VideoInfo
from deepsound.media.observers import EndAwareObserver, Footage, FrameChoice, Observer, scaled_size
from deepsound.media.probe import probe
from deepsound.media.sandbox.ipc import SharedBlock

_StreamKey = tuple[float | None, tuple[int, int], FrameChoice]
"""What observers that share a stream have in common: frames per second (None: all), (width, height), choice."""


def decode_video(path: Path, observers: Sequence[Observer], info: VideoInfo | None = None) -> Footage:
    """Decode a video once and pass every observer the frames of its sampling.

    Observers run in this process while the sandboxed process decodes the next frames. A damaged file is decoded
    as far as possible, and `Footage.damage` describes the damage. Raises SourceCorruptError if no frame decodes,
    what `probe` raises, and ValueError if two observers share a name.
    """
    names = [observer.name for observer in observers]
    if len(set(names)) < len(names):
        raise ValueError(f"two observers share a name: {', '.join(sorted(names))}")
    info = info or probe(path)
    streams = _streams(observers, info)
    observers_of = list(streams.values())

    def show(block: SharedBlock) -> None:
        stream, shape, times = cast("tuple[int, list[int], list[float]]", block.header)
        for observer in observers_of[stream]:
            observer.see(_frames(block, shape), np.array(times, np.float64))

    parameters: dict[str, Json] = {"info": info.to_json(), "streams": [list[Json](key) for key in streams]}
    outcome = _Outcome(**cast("Any", run_in_sandbox("decode", {"video": path}, parameters, show)))
    if not outcome.frames:
        raise SourceCorruptError("no frame of it can be decoded", where=str(path))
    for observer in observers:
        if isinstance(observer, EndAwareObserver):
            observer.shown_until(info.duration)
    observations = {observer.name: observer.finish() for observer in observers}
    damage = "; ".join(_faults(info, outcome)) or None
    return Footage(info, observations, outcome.decoder, outcome.frames, damage)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a decoding pass went: `frames` counts all decoded ones, `damaged` the packets and frames lost."""

    decoder: str
    frames: int
    damaged: int


def _streams(observers: Sequence[Observer], info: VideoInfo) -> dict[_StreamKey, list[Observer]]:
    streams: dict[_StreamKey, list[Observer]] = {}
    for observer in observers:
        sampling = observer.sampling
        key = sampling.rate, scaled_size(info, sampling.long_side), sampling.choice
        streams.setdefault(key, []).append(observer)
    return streams


def _frames(block: SharedBlock, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Map the frames, RGB (n, height, width, 3), for one observer: the others don't see what it writes to them."""
    return np.frombuffer(block.view(math.prod(shape)), np.uint8).reshape(shape)


def _faults(info: VideoInfo, outcome: _Outcome) -> Iterator[str]:
    if info.truncated:
        yield "the file ends before its headers say it should"
    if outcome.damaged:
        yield f"{outcome.damaged} damaged or misplaced pictures"
    if outcome.frames < info.frames:
        yield f"{outcome.frames} of {info.frames} frames could be shown"
