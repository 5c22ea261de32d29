"""Delivers the published artifacts of an item as files: NAME.mp4, NAME.wav, stems, and the sidecar NAME.json.

`deliver` decides what is written, kept and removed. `sidecar` says what NAME.json holds, `output_target`
compares and writes single files.
"""

from collections.abc import Iterable, Mapping, Set
from contextlib import ExitStack
from pathlib import PurePosixPath

from db.schema.records import FinishedStep
from deepsound.canonical_json import Json
from deepsound.errors import OutputNotWritableError
from deepsound.storage.location import Location
from deepsound.storage.protocol import Artifact, ArtifactStore
from deepsound.terminal_text import json_safe
from tasks.delivery.output_target import Found, compare, put_json, read_start, remove_if
from tasks.delivery.sidecar import NamedFile, NotOursError, named_in, sidecar_of, unfinished_sidecar
from tasks.runtime.item import Item


def result_locations(out: Location, name: str, published: FinishedStep) -> dict[str, Location]:
    """The location of each published artifact by its role, and of the sidecar by the role `sidecar`."""
    suffixes = {"video": str(published.result["suffix"]), "audio": ".wav", "sidecar": ".json"}
    roles = [*published.outputs, "sidecar"]
    return {role: out / f"{name}{suffixes.get(role, f'.{role}.wav')}" for role in roles}


def deliver(item: Item, published: FinishedStep, store: ArtifactStore) -> None:
    """Write the published artifacts and the sidecar to the run's output; files that are right already stay.

    Only results of the same source (the same bytes or the same path, and the same time range) are replaced, as the
    sidecar that lies there names them. Results of an earlier outcome that this one does not have are removed. A
    sidecar without an outcome is written first and names the files before and after, so that a repeated delivery
    recognises the files of an interrupted one.
    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, DISK_FULL, STORE_*, ARTIFACT_*).
    """
    targets = result_locations(item.settings.out, item.name, published)
    sidecar_target = targets.pop("sidecar")
    outputs = {
        role: NamedFile(_file_name(targets[role]), artifact.sha256) for role, artifact in published.outputs.items()
    }
    sidecar = sidecar_of(item, published, outputs)
    earlier = _earlier_results(sidecar_target, sidecar)
    due = _due(published.outputs, targets, {named.file for named in earlier})
    obsolete = _obsolete(earlier, sidecar_target, {*targets.values(), sidecar_target})
    with ExitStack() as held:
        local = {role: held.enter_context(store.local(due[role].sha256)) for role in due}
        if due or obsolete:
            put_json(unfinished_sidecar(sidecar, earlier), sidecar_target)
        for role, artifact in due.items():
            targets[role].put(local[role], artifact.media_type, artifact.sha256)
    for named in obsolete:
        remove_if(sidecar_target.parent / named.file, named.sha256)
    put_json(sidecar, sidecar_target)


def _earlier_results(target: Location, sidecar: Mapping[str, Json]) -> frozenset[NamedFile]:
    """The files that the sidecar at `target` names. Raises DeepSoundError if it is not one of the same source."""
    body = read_start(target)
    try:
        return frozenset() if body is None else named_in(body, sidecar)
    except NotOursError as error:
        raise _occupied(target, str(error)) from error


def _due(
    artifacts: Mapping[str, Artifact], targets: Mapping[str, Location], ours: Set[str]
) -> dict[str, Artifact]:
    """The artifacts to write, by role. Raises DeepSoundError if one would replace a file that is not in `ours`."""
    due: dict[str, Artifact] = {}
    for role, artifact in artifacts.items():
        found = compare(targets[role], artifact)
        if found is Found.OTHER and _file_name(targets[role]) not in ours:
            raise _occupied(targets[role], "a file that is no result of this video lies here")
        if found is not Found.SAME:
            due[role] = artifact
    return due


def _obsolete(earlier: Iterable[NamedFile], sidecar: Location, current: Set[Location]) -> list[NamedFile]:
    """The files of an earlier outcome that this one does not have.

    Anybody may have written the earlier sidecar, so it is believed only about files beside it that begin with its
    own name.
    """
    names = {_file_name(target) for target in current}
    start = PurePosixPath(_file_name(sidecar)).stem + "."
    return [
        named
        for named in earlier
        if named.file not in names and named.file.startswith(start) and "/" not in named.file
    ]


def _file_name(target: Location) -> str:
    return json_safe(target.name)


def _occupied(target: Location, what: str) -> OutputNotWritableError:
    remedy = "move it away and run again, or choose another place with -o"
    return OutputNotWritableError(f"{what} and would be lost", where=str(target), remedy=remedy)
