"""Looking at a video: one decoding pass feeds every observer; what they kept is stored and read back."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from deepsound.canonical import Json, canonical_json
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.files import replacing
from deepsound.media.footage import Footage, FrameSampling, Observation, Observer
from deepsound.media.pictures import Picture, Rgb, Showing, Size
from deepsound.media.probe import VideoInfo, probe

_BLOCK_FRAMES = 32
_BLOCK_BYTES = 64 << 20
_INSTANT = 1e-6  # seconds; instants and frame times this close are the same


def look(path: Path, observers: Sequence[Observer], info: VideoInfo | None = None) -> Footage:
    """Decode a video once and let every observer see the frames it asked for.

    A damaged file is shown as far as it decodes, and the footage says so. Raises DeepSoundError: SOURCE_CORRUPT
    if no frame decodes, and what `probe` raises; ValueError if two observers share a name.
    """
    names = [observer.name for observer in observers]
    if len(set(names)) < len(names):
        raise ValueError(f"two observers share a name: {', '.join(sorted(names))}")
    info = info or probe(path)
    feeds = [_Feed(observer, shown_size(info, observer.sampling.long_side)) for observer in observers]
    showing = Showing(path, info, lambda time, until: any(f.wants(time, until) for f in feeds))
    for picture in showing:
        _feed(picture, feeds)
    if not showing.frames:
        raise _nothing_shown(path)
    for feed in feeds:
        feed.flush()
    kept = {feed.observer.name: feed.observer.finish() for feed in feeds}
    return Footage(info, kept, showing.decoder, showing.frames, _damage(info, showing))


def shown_size(info: VideoInfo, long_side: int | None) -> Size:
    """(width, height) of frames whose longer side is at most `long_side`; they are never enlarged."""
    longest = max(info.width, info.height)
    scale = 1.0 if long_side is None else min(1.0, long_side / longest)
    return max(round(info.width * scale), 1), max(round(info.height * scale), 1)


def shown_at_instant(rate: float | None, time: float, until: float) -> bool:
    """Whether a frame shown during [time, until) is the one on show at some k / rate; None is every frame."""
    if rate is None:
        return True
    instant = np.ceil((time - _INSTANT) * rate) / rate
    return bool(instant < until - _INSTANT)


@dataclass(slots=True)
class _Feed:
    """Gathers one observer's frames into blocks."""

    observer: Observer
    size: Size
    sampling: FrameSampling = field(init=False)
    frames: list[Rgb] = field(default_factory=list[Rgb])
    times: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.sampling = self.observer.sampling

    def wants(self, time: float, until: float) -> bool:
        return shown_at_instant(self.sampling.rate, time, until)

    def take(self, frame: Rgb, time: float) -> None:
        self.frames.append(frame)
        self.times.append(time)
        if len(self.frames) >= _BLOCK_FRAMES or len(self.frames) * frame.nbytes >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        if self.frames:
            self.observer.see(np.stack(self.frames), np.array(self.times, np.float64))
            self.frames.clear()
            self.times.clear()


def _feed(picture: Picture, feeds: Sequence[_Feed]) -> None:
    scaled: dict[Size, Rgb] = {}
    for feed in feeds:
        if feed.wants(picture.time, picture.until):
            if feed.size not in scaled:
                scaled[feed.size] = picture.rgb(feed.size)
            feed.take(scaled[feed.size], picture.time)


def _nothing_shown(path: Path) -> DeepSoundError:
    return DeepSoundError(
        ErrorCode.SOURCE_CORRUPT,
        "no picture in it can be decoded",
        where=str(path),
        remedy="copy it again, or repair it",
    )


def _damage(info: VideoInfo, showing: Showing) -> str | None:
    faults = list(_faults(info, showing))
    return "; ".join(faults) if faults else None


def _faults(info: VideoInfo, showing: Showing) -> Iterator[str]:
    if info.truncated:
        yield "the file ends before its headers say it should"
    if showing.damaged:
        yield f"{showing.damaged} damaged or misplaced pictures"
    if showing.frames < info.frames:
        yield f"{showing.frames} of {info.frames} frames could be shown"


def save_observations(observations: Mapping[str, Observation], target: Path) -> None:
    """Store what observers kept as safetensors, keys "observer/array"; equal content gives equal bytes.

    Raises DeepSoundError (DISK_FULL, OUTPUT_NOT_WRITABLE), ValueError for an observer's name with a slash.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, observation in observations.items():
        if "/" in name:
            raise ValueError(f"an observer's name holds no slash: {name!r}")
        arrays |= {f"{name}/{key}": np.ascontiguousarray(array) for key, array in observation.items()}
    data = save(arrays, metadata={"observers": canonical_json(list[Json](sorted(observations)))})
    with replacing(target) as partial:
        partial.write_bytes(data)


def load_observations(path: Path) -> Mapping[str, Observation]:
    """Read what `save_observations` stored. Raises DeepSoundError (ARTIFACT_MISSING, ARTIFACT_DAMAGED)."""
    try:
        with safe_open(path, framework="numpy") as file:
            names: list[str] = json.loads(file.metadata()["observers"])
            keys: list[str] = file.keys()
            arrays: dict[str, NDArray[np.generic]] = {key: file.get_tensor(key) for key in keys}
    except FileNotFoundError as error:
        raise DeepSoundError(
            ErrorCode.ARTIFACT_MISSING, "the stored observations are gone", where=str(path), remedy="run again"
        ) from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DeepSoundError(
            ErrorCode.ARTIFACT_DAMAGED, "not stored observations", where=str(path), remedy="run the step again"
        ) from error
    return {name: _of(name, arrays) for name in names}


def _of(name: str, arrays: Mapping[str, NDArray[np.generic]]) -> Observation:
    prefix = f"{name}/"
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
