"""Looking at a video: one decoding pass feeds every observer; what they kept is stored and read back."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from deepsound.canonical_json import Json, canonical_json
from deepsound.errors import (
    ArtifactDamagedError,
    ArtifactMissingError,
    DeepSoundError,
    SourceCorruptError,
)
from deepsound.media.mapped_arrays import mapped
from deepsound.media.media_files import replacing
from deepsound.media.observers import Footage, FrameChoice, Observation, Observer, SeesTheEnd, shown_size
from deepsound.media.probe import VideoInfo, probe
from deepsound.media.sandbox.pool import ask_sandbox
from deepsound.media.sandbox.process import FrameBlock

_Stream = tuple[float | None, tuple[int, int], FrameChoice]
"""What several observers may share: frames a second or all, their size (width, height), and which are chosen."""


def look(path: Path, observers: Sequence[Observer], info: VideoInfo | None = None) -> Footage:
    """Decode a video once and let every observer see the frames it asked for.

    It is decoded in a guarded process; observers see the frames in this one, while the next ones are decoded.
    A damaged file is shown as far as it decodes, and the footage says so. Raises DeepSoundError: SOURCE_CORRUPT
    if no frame decodes, and what `probe` raises; ValueError if two observers share a name.
    """
    names = [observer.name for observer in observers]
    if len(set(names)) < len(names):
        raise ValueError(f"two observers share a name: {', '.join(sorted(names))}")
    info = info or probe(path)
    watching: dict[_Stream, list[Observer]] = {}
    for observer in observers:
        sampling = observer.sampling
        stream = sampling.rate, shown_size(info, sampling.long_side), sampling.choice
        watching.setdefault(stream, []).append(observer)
    watchers = list(watching.values())

    def take(block: FrameBlock) -> None:
        for observer in watchers[block.stream]:
            observer.see(block.frames(), block.times.copy())

    streams: list[Json] = [list[Json](stream) for stream in watching]
    shown = _Shown(
        **cast("Any", ask_sandbox("show", {"video": path}, {"info": info.to_json(), "streams": streams}, take))
    )
    if not shown.frames:
        raise _nothing_shown(path)
    for observer in observers:
        if isinstance(observer, SeesTheEnd):
            observer.shown_until(info.duration)
    kept = {observer.name: observer.finish() for observer in observers}
    return Footage(info, kept, shown.decoder, shown.frames, _damage(info, shown))


@dataclass(frozen=True, slots=True)
class _Shown:
    """How a decoding pass went: `frames` decoded, seen or not; `damaged` packets and frames were lost."""

    decoder: str
    frames: int
    damaged: int


def _nothing_shown(path: Path) -> DeepSoundError:
    return SourceCorruptError(
        "no picture in it can be decoded",
        where=str(path),
        remedy="copy it again, or repair it",
    )


def _damage(info: VideoInfo, shown: _Shown) -> str | None:
    faults = list(_faults(info, shown))
    return "; ".join(faults) if faults else None


def _faults(info: VideoInfo, shown: _Shown) -> Iterator[str]:
    if info.truncated:
        yield "the file ends before its headers say it should"
    if shown.damaged:
        yield f"{shown.damaged} damaged or misplaced pictures"
    if shown.frames < info.frames:
        yield f"{shown.frames} of {info.frames} frames could be shown"


def save_observations(observations: Mapping[str, Observation], target: Path) -> None:
    """Store what observers kept as safetensors, keys "observer/array"; equal content gives equal bytes.

    Raises DeepSoundError (DISK_FULL, OUTPUT_NOT_WRITABLE), ValueError for an observer's name with a slash.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, observation in observations.items():
        if "/" in name:
            raise ValueError(f"an observer's name holds no slash: {name!r}")
        arrays |= {f"{name}/{key}": np.asarray(array, order="C") for key, array in observation.items()}
    metadata = {"observers": canonical_json(list[Json](sorted(observations)))}
    with replacing(target) as partial:
        try:
            save_file(arrays, partial, metadata=metadata)
        except SafetensorError as error:
            raise _as_of_system(error) from error


def _as_of_system(error: SafetensorError) -> Exception:
    """The library tells what the system refused as words that end with its number."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else error


def load_observations(path: Path) -> Mapping[str, Observation]:
    """Map what `save_observations` stored; the file may be deleted then, its bytes stay until the last is let go.

    What is looked at is read from the disk: the observations of a long video are many. What is written to an array
    stays with it.
    Raises DeepSoundError (ARTIFACT_MISSING, ARTIFACT_DAMAGED).
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names: list[str] = json.loads(file.metadata()["observers"])
        arrays = _mapped(path)
    except FileNotFoundError as error:
        raise ArtifactMissingError(
            "the stored observations are gone", where=str(path), remedy="run again"
        ) from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactDamagedError(
            "not stored observations", where=str(path), remedy="run the step again"
        ) from error
    keys = [key.partition("/") for key in arrays]
    return {
        name: {array: arrays[f"{name}/{array}"] for observer, _, array in keys if observer == name}
        for name in names
    }


def _mapped(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a whole safetensors file by key: its header, after its length, says where each is.

    The library maps a file for torch only, which a worker without neural networks never loads.
    """
    with path.open("rb") as file:
        data = mapped(file)
    first = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(data[8:first].tobytes())
    arrays: dict[str, NDArray[np.generic]] = {}
    for key, told in header.items():
        if key != "__metadata__":
            start, stop = told["data_offsets"]
            arrays[key] = data[first + start : first + stop].view(_dtype(told["dtype"])).reshape(told["shape"])
    return arrays


def _dtype(name: str) -> np.dtype[np.generic]:
    """NumPy's type of the name that safetensors has for it, as F32 or BOOL."""
    return np.dtype(np.bool_) if name == "BOOL" else np.dtype(f"<{name[0].lower()}{int(name[1:]) // 8}")
