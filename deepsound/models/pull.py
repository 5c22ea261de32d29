"""Fetching a known model into the models folder: what is there and whole stays, the rest comes from its publisher.

Hugging Face is asked through its own library for addresses, hashes and credentials (`HF_ENDPOINT`, `HF_TOKEN`,
`HF_HUB_OFFLINE`). The bytes come by our own download, as that library throws an interrupted one away.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import httpx2
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers

from deepsound.errors import DeepSoundError, ModelFailedError
from deepsound.models.download import Download, OnBytes, download, refused, unreachable
from deepsound.models.local import KnownFile, KnownModel, find_fault, models_folder

_HUGGING_FACE = "https://huggingface.co/"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ASK_SECONDS = 10.0
_READ = (".json", ".txt", ".safetensors", ".bin")
"""Kinds of files that are read of a whole release: nothing that would be run, no pictures."""


def files_to_pull(model: KnownModel) -> Sequence[KnownFile]:
    """All files of a model; those of a whole release by its publisher's list, the one that tells it is here last.

    Raises DeepSoundError MODEL_MISSING where the list can't be had.
    """
    if not model.whole_release or all(find_fault(model, file) is None for file in model.files):
        return model.files
    folder = PurePosixPath(model.files[0].path).parts[0]
    try:
        published = HfApi().model_info(_repository(model), timeout=_ASK_SECONDS).siblings or ()
    except (httpx2.HTTPError, OSError) as error:
        raise _not_had(models_folder() / folder, model.source, error) from error
    listed = [sibling.rfilename for sibling in published]
    safe = any(name.endswith(".safetensors") for name in listed)
    names = [name for name in listed if name.endswith(_READ) and not (safe and name.endswith(".bin"))]
    known = {file.path for file in model.files}
    # A name with folders in it could lead anywhere; official releases are flat.
    paths = [f"{folder}/{name}" for name in names if "/" not in name]
    return [*(KnownFile(path) for path in paths if path not in known), *model.files]


def pull_file(model: KnownModel, file: KnownFile, on_bytes: OnBytes) -> bool:
    """Have a file of a model in the models folder, whole; True if it had to be fetched.

    A damaged one is replaced once the official one is here. Raises DeepSoundError: MODEL_MISSING that says what to
    put where, MODEL_FAILED for bytes that are not the official ones, DISK_FULL, OUTPUT_NOT_WRITABLE.
    """
    fault = find_fault(model, file)
    if fault is None:
        return False
    if model.package is not None:
        raise fault
    path = models_folder() / file.path
    wanted = _on_hugging_face if model.source.startswith(_HUGGING_FACE) else _in_a_release
    download(wanted(model, file, path), path, on_bytes)
    return True


def _repository(model: KnownModel) -> str:
    return model.source.removeprefix(_HUGGING_FACE)


def _on_hugging_face(model: KnownModel, file: KnownFile, path: Path) -> Download:
    """A file of a repository; below the models folder it lies in a folder of the repository's own."""
    url = hf_hub_url(_repository(model), "/".join(PurePosixPath(file.path).parts[1:]))
    try:
        published = get_hf_file_metadata(url)
    except (httpx2.HTTPError, OSError) as error:
        raise _not_had(path, url, error) from error
    # The ETag of a large file is its SHA-256, that of a small one a Git hash.
    etag = published.etag or ""
    sha256 = etag if _SHA256.fullmatch(etag) else None
    size = published.size or file.size
    if file.size not in (None, size) or (file.sha256 and sha256 not in (None, file.sha256)):
        what = "its publisher now offers another file than the official one known here"
        remedy = f"put the file with SHA-256 {file.sha256 or 'as published'} there, from {model.source}"
        raise ModelFailedError(what, where=str(path), remedy=remedy)
    return Download(url, etag or url, size, file.sha256 or sha256, build_hf_headers())


def _in_a_release(model: KnownModel, file: KnownFile, path: Path) -> Download:
    """A file of a GitHub release, whose page is the model's source."""
    url = f"{model.source.replace('/releases/tag/', '/releases/download/')}/{path.name}"
    return Download(url, file.sha256 or url, file.size, file.sha256)


def _not_had(path: Path, url: str, error: Exception) -> DeepSoundError:
    if isinstance(error, HfHubHTTPError):
        return refused(path, url, error.response.status_code)
    return unreachable(path, url, error)
