"""Published artifacts become files people find: NAME.mp4, NAME.wav, stems, and a sidecar with the reasons."""

import json
from collections.abc import Iterable, Mapping, Set
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path, PurePosixPath

from db.schema.records import FinishedStep
from deepsound.canonical_json import Json
from deepsound.errors import DeepSoundError, OutputNotWritableError
from deepsound.storage.location import InBucket, Location
from deepsound.storage.protocol import Artifact, ArtifactStore
from tasks.delivery.output_target import Found, find, put, read, remove
from tasks.delivery.sidecar import NamedFile, NotOursError, named_file, named_in, sidecar_of, unfinished_sidecar
from tasks.runtime.item import Item
from tasks.runtime.scratch_folder import scratch_folder


def delivered_places(out: Location, name: str, published: FinishedStep) -> dict[str, Location]:
    """Where each published artifact goes, by role; `sidecar` too."""
    suffixes = {"video": str(published.result["suffix"]), "audio": ".wav", "sidecar": ".json"}
    roles = [*published.outputs, "sidecar"]
    return {role: out / f"{name}{suffixes.get(role, f'.{role}.wav')}" for role in roles}


def deliver(item: Item, published: FinishedStep, store: ArtifactStore) -> None:
    """Bring every published file to its place; what already lies there with the right bytes stays.

    Nothing is replaced but results of the same video or of the same file (and of the same part of it), as the
    sidecar that lies there names them; those that this ending does not put out are removed. Before a file is
    touched, a sidecar without an outcome names what lies there and what will: whoever takes up an interrupted
    delivery knows its files by that.
    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, DISK_FULL, STORE_*, ARTIFACT_*).
    """
    targets = delivered_places(item.settings.out, item.name, published)
    said = sidecar_of(item, published, targets)
    earlier = _named_before(targets["sidecar"], said)
    due = _due(published.outputs, targets, {named.file for named in earlier})
    withdrawn = _withdrawn(earlier, targets)
    with ExitStack() as held:
        kept = {role: held.enter_context(store.local(made.sha256)) for role, made in due.items()}
        if due or withdrawn:
            _write(unfinished_sidecar(said, earlier), targets["sidecar"])
        for role, made in due.items():
            put(kept[role], targets[role], made)
    for named in withdrawn:
        remove(_beside(targets["sidecar"], named.file), named.sha256)
    _write(said, targets["sidecar"])


def _named_before(sidecar: Location, said: Mapping[str, Json]) -> frozenset[NamedFile]:
    """What the sidecar that lies there names. Raises DeepSoundError where it is not this source's."""
    body = read(sidecar)
    try:
        return frozenset() if body is None else named_in(body, said)
    except NotOursError as error:
        raise _taken(sidecar, str(error)) from error


def _due(made: Mapping[str, Artifact], targets: Mapping[str, Location], ours: Set[str]) -> dict[str, Artifact]:
    """What has yet to be brought, by role. Raises DeepSoundError where a file that is not ours would go for it."""
    due: dict[str, Artifact] = {}
    for role, artifact in made.items():
        found = find(targets[role], artifact)
        if found is Found.OTHER and named_file(targets[role], artifact.sha256).file not in ours:
            raise _taken(targets[role], "a file that is no result of this video lies here")
        if found is not Found.THE_SAME:
            due[role] = artifact
    return due


def _withdrawn(earlier: Iterable[NamedFile], targets: Mapping[str, Location]) -> list[NamedFile]:
    """What an earlier ending put out and this one does not.

    A sidecar may have been written by anybody, so only files beside it that bear its own name are believed.
    """
    names = {PurePosixPath(str(target)).name for target in targets.values()}
    ours = PurePosixPath(str(targets["sidecar"])).stem + "."
    return [
        named
        for named in earlier
        if named.file not in names and named.file.startswith(ours) and "/" not in named.file
    ]


def _beside(sidecar: Location, name: str) -> Location:
    if isinstance(sidecar, Path):
        return sidecar.with_name(name)
    return InBucket(sidecar.bucket, str(PurePosixPath(sidecar.key).with_name(name)))


def _taken(target: Location, what: str) -> DeepSoundError:
    return OutputNotWritableError(
        f"{what} and would be lost",
        where=str(target),
        remedy="move it away and run again, or choose another place with -o",
    )


def _write(sidecar: Mapping[str, Json], target: Location) -> None:
    body = (json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n").encode()
    with scratch_folder() as scratch:
        (scratch / "sidecar").write_bytes(body)
        put(scratch / "sidecar", target, Artifact(sha256(body).hexdigest(), len(body), "application/json"))
