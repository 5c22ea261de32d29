"""Everything the page shows, gathered from the ledger and the store."""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader

from console.report.pictures import sound_picture
from console.results import ItemResult, read_results
from db.audit import item_evidence
from db.items import run_items
from db.records import FinishedStep, StepRef
from db.schema import Attempt, Item
from deepsound.artifacts.location import Location, location
from deepsound.artifacts.protocol import Artifact
from deepsound.media.files import replacing
from deepsound.pipeline import Step
from deepsound.spans import Span
from tasks.deliver import speakable
from tasks.excerpts import range_of
from tasks.judge import unseen_voices
from tasks.run import load_jobs
from tasks.worker import Worker


@dataclass(frozen=True, slots=True)
class SoundShown:
    """One sound: what it is, its picture as a data URL, its SHA-256."""

    title: str
    picture: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ClipShown:
    """One video: the result, players before and after, sounds, and the attempts with their words."""

    result: ItemResult
    item: Item
    before: str | None
    after: str | None
    sounds: Sequence[SoundShown]
    attempts: Sequence[Attempt]


def write_report(worker: Worker, run_ids: Sequence[str], target: Path) -> None:
    """Write the page of some runs to `target`. Raises DeepSoundError."""
    clips = [clip for run_id in run_ids for clip in _clips(worker, run_id, target.absolute().parent)]
    page = Environment(loader=PackageLoader("console.report", "."), autoescape=True)
    page.filters |= {"speakable": speakable, "quoted": _quoted}
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        temporary.write_text(page.get_template("page.html").render(clips=clips, runs=run_ids), encoding="utf-8")


def _clips(worker: Worker, run_id: str, folder: Path) -> list[ClipShown]:
    results = read_results(worker, run_id)
    with worker.ledger.read() as session:
        ids = [item.id for item in run_items(session, run_id)]
        items = item_evidence(session, ids)
    jobs = load_jobs(worker, run_id, ids)
    return [
        ClipShown(
            result=result,
            item=item,
            before=_link(location(result.source), folder, _part(item)),
            after=_link(result.outputs["video"], folder) if "video" in result.outputs else None,
            sounds=_sounds(worker, job.done),
            attempts=[attempt.reused or attempt for attempt in item.attempts],
        )
        for result, item, job in zip(results, items, jobs, strict=True)
    ]


def _sounds(worker: Worker, done: Mapping[StepRef, FinishedStep]) -> list[SoundShown]:
    """Coarse audio with the voice-over marked, the voice taken out, and what was published."""
    shown: list[SoundShown] = []
    for number in (1, 2):
        if (generated := done.get(StepRef(Step.GENERATE, number))) is not None:
            judged = done.get(StepRef(Step.JUDGE, number))
            title = "coarse audio" if number == 1 else "coarse audio, generated again"
            shown.append(
                _sound(worker, title, generated.outputs["coarse"], unseen_voices(judged) if judged else [])
            )
    for finished in done.values():
        for role, title in (("voice", "voice taken out"), ("audio", "published")):
            if finished.at.step is Step.PUBLISH and role in finished.outputs:
                shown.append(_sound(worker, title, finished.outputs[role], ()))
    return shown


def _sound(worker: Worker, title: str, artifact: Artifact, spans: Sequence[Span]) -> SoundShown:
    with worker.store.local(artifact.sha256) as path:
        png = sound_picture(path, spans)
    return SoundShown(title, f"data:image/png;base64,{base64.b64encode(png).decode()}", artifact.sha256)


def _part(item: Item) -> str:
    """What of the source is played, as a media fragment (W3C Media Fragments 1.0, 4.2.1)."""
    part = range_of(item.overrides)
    return "" if part is None else f"#t={part.start:g}" + ("" if part.end is None else f",{part.end:g}")


def _link(file: Location, folder: Path, part: str = "") -> str | None:
    """From the page to a file, so that both can be moved together; None for what lies in a bucket."""
    if not isinstance(file, Path):
        return None
    return quote(os.fsencode(os.path.relpath(file, folder))) + part


def _quoted(attempt: Attempt, start: int, end: int) -> str:
    return (attempt.raw_output or "")[start:end]
