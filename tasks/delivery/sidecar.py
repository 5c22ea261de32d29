"""NAME.json: the decision and the ledger ids behind it, and which files beside it are this video's."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from db.schema.records import FinishedStep, StepRef
from deepsound.canonical_json import Json
from deepsound.pipeline import Step
from deepsound.storage.location import Location
from deepsound.terminal_text import json_safe
from tasks.runtime.item import PLAN, Item
from tasks.runtime.source_access import EXCERPT

_EARLIER = "earlier"
"""Key of an unfinished sidecar: the files that the one before it named."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file beside a sidecar that names it."""

    file: str
    sha256: str


class NotOursError(Exception):
    """What lies where the sidecar should is another's; says whose."""


def sidecar_of(item: Item, published: FinishedStep, targets: Mapping[str, Location]) -> dict[str, Json]:
    """What the sidecar says once every published file lies at its target (by role)."""
    judged = item.done.get(StepRef(Step.JUDGE, 2)) or item.done.get(StepRef(Step.JUDGE, 1))
    review = None if judged is None else item.review(judged.at.round)
    return {
        "run": item.run_id,
        "item": item.id,
        "source": {"path": json_safe(item.source), "sha256": item.video_sha256, **_cut(item)},
        "outcome": published.result["outcome"],
        "why": published.result["why"],
        "judgement": None if judged is None else dict(judged.result),
        "review": None if review is None else review.to_json(),
        "loudness": published.result["loudness"],
        "outputs": {
            role: asdict(named_file(targets[role], artifact.sha256))
            for role, artifact in published.outputs.items()
        },
        "attempts": {f"{at.step}/{at.round}": finished.attempt_id for at, finished in item.done.items()},
    }


def unfinished_sidecar(sidecar: Mapping[str, Json], earlier: Iterable[NamedFile]) -> dict[str, Json]:
    """The same for the time until all files lie there: no outcome, and what the sidecar before it named too."""
    still = {"outcome": None, "why": "its files are being brought here"}
    return {**sidecar, **still, _EARLIER: [asdict(named) for named in earlier]}


def named_file(target: Location, sha256: str) -> NamedFile:
    """A result as sidecars name it."""
    return NamedFile(json_safe(PurePosixPath(str(target)).name), sha256)


def named_in(body: bytes, sidecar: Mapping[str, Json]) -> frozenset[NamedFile]:
    """The files that an earlier sidecar names. Raises NotOursError where its source is not that of `sidecar`.

    A source is known by its bytes, or by its path: who digitises a reel anew wants its results replaced.
    """
    try:
        told = json.loads(body)
        theirs = told["source"]
        listed = [*told["outputs"].values(), *told.get(_EARLIER, [])]
        named = frozenset(NamedFile(str(each["file"]), str(each["sha256"])) for each in listed)
        sha256, path = str(theirs["sha256"]), str(theirs["path"])
        part = theirs.get("start"), theirs.get("end")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise NotOursError("a file that is no result of this video lies here") from error
    ours = sidecar["source"]
    if not isinstance(ours, dict) or (sha256 != ours["sha256"] and path != ours["path"]):
        raise NotOursError(f"results of another video, {path}, lie here")
    if part != (ours.get("start"), ours.get("end")):
        raise NotOursError("results of another part of this video lie here")
    return named


def _cut(item: Item) -> dict[str, Json]:
    """From when to when the result is of the source, in seconds; nothing where it is all of it."""
    excerpt = item.done[PLAN].result.get(EXCERPT) if item.part is not None else None
    return {"start": excerpt["start"], "end": excerpt["end"]} if isinstance(excerpt, dict) else {}
