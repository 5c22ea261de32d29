"""Where the files of a chat model are, which they are, and under what licence. Nothing is fetched."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from deepsound.errors import ModelError, ModelFailedError, ModelMissingError
from deepsound.models.file_hashes import checkpoint_sha256
from deepsound.models.identity import ModelIdentity
from deepsound.models.local import models_folder

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

_READ = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""Kinds of files that are read: none of them holds code, and whatever they say may change the words."""

_SPDX = {"apache-2.0": "Apache-2.0", "mit": "MIT", "cc-by-4.0": "CC-BY-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0"}
"""Names of licences on Hugging Face, by their SPDX names; any other is no licence we know to allow anything."""

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)^---", re.DOTALL | re.MULTILINE)
_LICENCE = re.compile(r"^license:[ \t]*[\"']?([\w.+-]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Release:
    """A folder with a whole chat model. `revision` is the commit where Hugging Face's cache tells, else empty."""

    name: str
    folder: Path
    revision: str = ""


def find_release(model: str) -> Release:
    """The folder called `model`; that name in the models folder; or the Hugging Face repository in its cache.

    Raises ModelMissingError that says what to put where.
    """
    given, ours = Path(model).expanduser(), models_folder() / model
    if given.is_dir():
        return Release(given.resolve().name, given)
    if ours.is_dir():
        return Release(model, ours)
    try:
        cached = Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise ModelMissingError(
            "the chat model is not on this machine",
            where=str(ours),
            remedy=f"put the whole release there (`hf download {model} --local-dir {ours}`) or name its folder",
        ) from error
    return Release(model, cached, cached.name)


def weight_files(release: Release) -> tuple[Path, ...]:
    """The safetensors files of a release, those its index names or its one.

    Raises ModelMissingError where they are not all there, ModelFailedError for a damaged index.
    """
    index = release.folder / INDEX
    try:
        named = json.loads(index.read_bytes())["weight_map"].values() if index.is_file() else [SINGLE]
        files = [release.folder / Path(name).name for name in sorted(set(named))]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise release_error(release, ModelFailedError, f"{INDEX} is no index of weights") from error
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        what = f"{len(absent)} of {len(files)} files of weights are missing: {', '.join(absent)}"
        raise release_error(release, ModelMissingError, what)
    return tuple(files)


def release_identity(release: Release) -> ModelIdentity:
    """The release with the hashes of all files that are read. Raises DeepSoundError as `weight_files` does."""
    weights = weight_files(release)
    beside = (path for path in release.folder.iterdir() if path.suffix in _READ and path.is_file())
    files = {path.name: checkpoint_sha256(path) for path in sorted({*weights, *beside})}
    return ModelIdentity(release.name, release.revision or release.name, _licence(release), files)


def release_error(release: Release, kind: type[ModelError], what: str) -> ModelError:
    """What is wrong with a release, and that its folder must hold all of it."""
    remedy = "put the whole release in that folder, weights as safetensors"
    return kind(what, where=str(release.folder), remedy=remedy)


def _licence(release: Release) -> str:
    """What the model card says, by its SPDX name where there is one."""
    card = release.folder / "README.md"
    if not card.is_file():
        return "unstated"
    front = _FRONT_MATTER.match(card.read_text("utf-8", errors="replace"))
    stated = front and _LICENCE.search(front[1])
    return _SPDX.get(stated[1], f"LicenseRef-{stated[1]}") if stated else "unstated"
