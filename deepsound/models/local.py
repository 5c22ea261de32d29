"""Known checkpoints on this machine: where their files are, and whether they are the official ones."""

import os
from collections.abc import Iterator
from pathlib import Path

from deepsound.canonical_json import sha256_file
from deepsound.errors import BadSettingsError, DeepSoundError, ModelFailedError, ModelMissingError
from deepsound.models.catalogue import KNOWN_MODELS, KnownFile, KnownModel
from deepsound.models.file_hashes import checkpoint_sha256
from deepsound.models.identity import packaged_file, recorded_sha256
from deepsound.user_dirs import data_folder

__all__ = [
    "KnownFile",
    "KnownModel",
    "checked_sha256",
    "find_fault",
    "find_faults",
    "find_file",
    "find_set",
    "known_model",
    "known_models",
    "models_folder",
    "permission",
    "with_needs",
]


def known_models() -> tuple[KnownModel, ...]:
    """All checkpoints DeepSound can use: those inside packages first."""
    return KNOWN_MODELS


def known_model(name: str) -> KnownModel:
    """The checkpoint called `name`. Raises DeepSoundError BAD_SETTINGS."""
    found = next((model for model in KNOWN_MODELS if model.name == name), None)
    if found is None:
        remedy = f"choose one of: {', '.join(model.name for model in KNOWN_MODELS)}"
        raise BadSettingsError("no such model is known", where=name, remedy=remedy)
    return found


def with_needs(name: str) -> tuple[KnownModel, ...]:
    """The model called `name` and those it does not work without; nothing where no such model is known."""
    found = next((model for model in KNOWN_MODELS if model.name == name), None)
    return () if found is None else (found, *map(known_model, found.needs))


def models_folder() -> Path:
    """Where fetched files are looked for: `$DEEPSOUND_MODELS`, by default `models` in the data folder."""
    named = os.environ.get("DEEPSOUND_MODELS")
    return Path(named) if named else data_folder() / "models"


def find_set(name: str) -> tuple[tuple[KnownModel, tuple[Path, ...]], ...]:
    """The model called `name` and those it does not work without, each with where its files lie, as `find_file`.

    Raises DeepSoundError as that does, for the first of all files with a fault; its remedy is for the whole set.
    """
    found: list[tuple[KnownModel, tuple[Path, ...]]] = []
    faults: list[DeepSoundError] = []
    for model in with_needs(name):
        paths: list[Path] = []
        for file in model.files:
            try:
                paths.append(find_file(model, file, pulled_with=name))
            except DeepSoundError as fault:
                faults.append(fault)
        found.append((model, tuple(paths)))
    if faults:
        first, more = faults[0], len(faults) - 1
        what = f"{first.what}, and {more} other files that {name} needs are missing or cut short"
        raise type(first)(what if more else first.what, where=first.where, remedy=first.remedy)
    return tuple(found)


def find_file(model: KnownModel, file: KnownFile, *, pulled_with: str | None = None) -> Path:
    """Where a file of a model lies on this machine. Its size is looked at, its bytes are not read.

    `pulled_with` is the model that is to be fetched where this one is only needed by it.

    Raises DeepSoundError: MODEL_MISSING that says what to put where, MODEL_FAILED for a file cut short.
    """
    if model.package is not None:
        return packaged_file(model.package, file.path)
    path = models_folder() / file.path
    if not path.is_file():
        what = f"{model.name} is not on this machine"
        terms = f"licence {model.licence}; {permission(model.commercial_use)}"
        pulled = pulled_with or model.name
        remedy = f"run `deepsound models pull {pulled}`, or put it there, from {model.source} ({terms})"
        raise ModelMissingError(what, where=str(path), remedy=remedy)
    size = path.stat().st_size
    if file.size not in (None, size):
        what = f"{size} bytes, where the official file has {file.size}"
        raise _not_official(model, path, what, pulled_with)
    return path


def checked_sha256(path: Path, published: str | None, name: str) -> str:
    """Hex SHA-256 of a file of the model called `name`, remembered from process to process.

    Raises DeepSoundError MODEL_FAILED where that is not the published one; None is a file that nobody published,
    or whose hash is not known.
    """
    sha256 = checkpoint_sha256(path)
    if published is not None and sha256 != published:
        what = f"its bytes have the hash {sha256}, those of the official file {published}"
        raise _not_official(known_model(name), path, what)
    return sha256


def find_faults(model: KnownModel) -> Iterator[DeepSoundError]:
    """What is wrong with a model here: files missing, cut short, or with other bytes than were published.

    Reads all of it. Packaged files are held against the hashes their package was installed with.
    """
    for file in model.files:
        fault = find_fault(model, file)
        if fault is not None:
            yield fault


def find_fault(model: KnownModel, file: KnownFile) -> DeepSoundError | None:
    """What is wrong with one file of a model here; None where nothing is. Reads all of it."""
    try:
        path = find_file(model, file)
    except DeepSoundError as fault:
        return fault
    published = recorded_sha256(model.package, file.path) if model.package else file.sha256
    if published is not None and sha256_file(path) != published:
        return _not_official(model, path, "the bytes are not those of the official file")
    return None


def _not_official(model: KnownModel, path: Path, what: str, pulled_with: str | None = None) -> DeepSoundError:
    fetch = (
        f"run `pip install --force-reinstall {model.package}`"
        if model.package
        else f"run `deepsound models pull {pulled_with or model.name}`, or get it from {model.source}"
    )
    return ModelFailedError(what, where=str(path), remedy=fetch)


def permission(commercial_use: bool | None) -> str:
    """What a licence says of commercial use, in words."""
    if commercial_use is None:
        return "ask its authors before using it"
    return "commercial use allowed" if commercial_use else "no commercial use"
