"""The content of NAME.json: the decision, the ledger ids behind it, and the result files beside it. No I/O."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from db.schema.records import FinishedStep
from deepsound.canonical_json import Json
from deepsound.terminal_text import json_safe
from tasks.runtime.deciding_judgement import deciding_judgement, decision_json
from tasks.runtime.item import PLAN, Item
from tasks.runtime.source_access import EXCERPT

_EARLIER = "earlier"
"""Key in a sidecar of an unfinished delivery: the files that the sidecar before it named."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A result file as a sidecar names it: file name and SHA-256 (hex)."""

    file: str
    sha256: str


class NotOursError(Exception):
    """The file is no sidecar, or one of another source; the message says which."""


def sidecar_of(item: Item, published: FinishedStep, outputs: Mapping[str, NamedFile]) -> dict[str, Json]:
    """The sidecar of a finished delivery; `outputs` are the published files by role."""
    decided = deciding_judgement(item.with_step(published).done, item.reviews)
    return {
        "run": item.run_id,
        "item": item.id,
        "source": {"path": json_safe(item.source), "sha256": item.video_sha256, **_cut(item)},
        "outcome": published.result["outcome"],
        "why": published.result["why"],
        **decision_json(decided),
        "judgement": None if decided is None else dict(decided.judgement.result),
        "loudness": published.result["loudness"],
        "outputs": {role: asdict(named) for role, named in outputs.items()},
        "attempts": {f"{at.step}/{at.round}": finished.attempt_id for at, finished in item.done.items()},
    }


def unfinished_sidecar(sidecar: Mapping[str, Json], earlier: Iterable[NamedFile]) -> dict[str, Json]:
    """The sidecar while files are still written: without an outcome, and with the files that were named before."""
    unfinished = {"outcome": None, "why": "its files are still being written"}
    return {**sidecar, **unfinished, _EARLIER: [asdict(named) for named in earlier]}


def named_in(body: bytes, sidecar: Mapping[str, Json]) -> frozenset[NamedFile]:
    """Parse an earlier sidecar and return the files it names.

    Raises NotOursError if its source is not that of `sidecar`. A source is the same if its bytes or its path are:
    results of a reel that is digitised anew replace those of the earlier file.
    """
    try:
        earlier = json.loads(body)
        theirs = earlier["source"]
        listed = [*earlier["outputs"].values(), *earlier.get(_EARLIER, [])]
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
    """Start and end of the item's time range in seconds; empty for a whole video."""
    excerpt = item.done[PLAN].result.get(EXCERPT) if item.part is not None else None
    return {"start": excerpt["start"], "end": excerpt["end"]} if isinstance(excerpt, dict) else {}
