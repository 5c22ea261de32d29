"""Stores observations as safetensors files and reads them back through a memory map."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from deepsound.atomic_write import replacing
from deepsound.canonical_json import Json, canonical_json
from deepsound.errors import ArtifactDamagedError, ArtifactMissingError
from deepsound.media.disk_arrays import map_file
from deepsound.media.observers import Observation


def save_observations(observations: Mapping[str, Observation], target: Path) -> None:
    """Store observations under the keys "observer/array"; equal content gives equal bytes.

    Raises DiskFullError, OutputNotWritableError, and ValueError for an observer's name with a slash.
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
            raise _system_error(error) from error


def _system_error(error: SafetensorError) -> Exception:
    """Return the OSError behind a SafetensorError, whose text ends with the system's error number."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else error


def load_observations(path: Path) -> Mapping[str, Observation]:
    """Map the arrays that `save_observations` stored.

    Values are read from disk when they are used, since the observations of a long video are large. Writing to an
    array changes memory only. The file may be deleted while its arrays are in use. Raises ArtifactMissingError or
    ArtifactDamagedError.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names: list[str] = json.loads(file.metadata()["observers"])
        arrays = _mapped_arrays(path)
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


def _mapped_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Map the arrays of a safetensors file by key: 8 bytes of header length, a JSON header, then the data.

    safetensors itself maps files only for torch, which a worker without neural networks never loads.
    """
    with path.open("rb") as file:
        data = map_file(file)
    first = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(data[8:first].tobytes())
    arrays: dict[str, NDArray[np.generic]] = {}
    for key, entry in header.items():
        if key != "__metadata__":
            start, stop = entry["data_offsets"]
            arrays[key] = data[first + start : first + stop].view(_dtype(entry["dtype"])).reshape(entry["shape"])
    return arrays


def _dtype(name: str) -> np.dtype[np.generic]:
    """Return NumPy's type for a safetensors type name such as F32 or BOOL."""
    return np.dtype(np.bool_) if name == "BOOL" else np.dtype(f"<{name[0].lower()}{int(name[1:]) // 8}")
