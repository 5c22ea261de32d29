"""Everything the page shows, gathered from the ledger and the store."""

import base64
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader

from db.read.evidence import item_evidence
from db.schema.records import FinishedStep, StepRef
from db.schema.tables import AttemptRow, ItemRow
from db.state.attempt_history import replay_rows
from deepsound.atomic_write import replacing
from deepsound.pipeline import OutcomeKind, Step
from deepsound.spans import Span
from deepsound.storage.location import Location, location
from deepsound.storage.protocol import Artifact
from deepsound.terminal_text import terminal_safe
from tasks.operations.item_loading import load_items
from tasks.operations.run_results import ItemResult, read_results
from tasks.runtime.time_range import range_of
from tasks.runtime.worker import Worker
from tasks.steps.judge import off_screen_spans

AT_LENGTH = 200
"""A page of more is slow to open, and nobody reads it."""


@dataclass(frozen=True, slots=True)
class LineShown:
    """One video in the list of all: the result, and a link to it."""

    result: ItemResult
    after: str | None


@dataclass(frozen=True, slots=True)
class SoundShown:
    """One sound: what it is, its picture as a data URL, its SHA-256."""

    title: str
    picture: str
    sha256: str


@dataclass(frozen=True, slots=True)
class AttemptShown:
    """One attempt, or the one it reused, whose words are shown; `stands`: nobody took it back."""

    said: AttemptRow
    stands: bool


@dataclass(frozen=True, slots=True)
class ClipShown:
    """One video: the result, players before and after, sounds, and the attempts with their words."""

    result: ItemResult
    item: ItemRow
    before: str | None
    after: str | None
    sounds: Sequence[SoundShown]
    attempts: Sequence[AttemptShown]


def write_report(
    worker: Worker, run_ids: Sequence[str], target: Path, *, folder: Path | None, done_too: bool = True
) -> None:
    """Write the page of some runs to `target`. Raises DeepSoundError.

    The page links to videos by paths relative to `folder`, where it will be opened; None: it links to none. Every
    video has a line. Those that are not done are shown at length, and with `done_too` the others too:
    `AT_LENGTH` of each run at most.
    """
    results = {run_id: read_results(worker, run_id) for run_id in run_ids}
    folder = None if folder is None else folder.absolute()
    clips = [
        clip
        for run_id, each in results.items()
        for clip in _clips(worker, run_id, _at_length(each, done_too), folder)
    ]
    page = Environment(loader=PackageLoader("tasks.report", "."), autoescape=True)
    page.filters["terminal_safe"] = terminal_safe
    page.filters["quoted"] = _quoted  # pyright: ignore[reportArgumentType] - typed as one of its own filters
    lines = [LineShown(result, _after(result, folder)) for each in results.values() for result in each]
    ends = Counter("open" if line.result.outcome is None else line.result.outcome.value for line in lines)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        shown = page.get_template("page.html").render(clips=clips, lines=lines, ends=ends)
        temporary.write_text(shown, encoding="utf-8")


def _at_length(results: Sequence[ItemResult], done_too: bool) -> list[ItemResult]:
    needing = [result for result in results if result.outcome is not OutcomeKind.DONE]
    done = [result for result in results if result.outcome is OutcomeKind.DONE] if done_too else []
    chosen = {result.item for result in [*needing, *done][:AT_LENGTH]}
    return [result for result in results if result.item in chosen]


def _clips(worker: Worker, run_id: str, results: Sequence[ItemResult], folder: Path | None) -> list[ClipShown]:
    ids = [result.item for result in results]
    with worker.ledger.read() as session:
        items = item_evidence(session, ids)
    loaded = load_items(worker, run_id, ids)
    return [
        ClipShown(
            result=result,
            item=item,
            before=_link(location(result.source), folder, _part(item)),
            after=_after(result, folder),
            sounds=_sounds(worker, state.done),
            attempts=list(_attempts(item)),
        )
        for result, item, state in zip(results, items, loaded, strict=True)
    ]


def _attempts(item: ItemRow) -> Iterator[AttemptShown]:
    standing = {attempt.id for attempt in replay_rows(item.attempts, item.retries).attempts}
    for attempt in item.attempts:
        yield AttemptShown(attempt.reused or attempt, attempt.id in standing)


def _after(result: ItemResult, folder: Path | None) -> str | None:
    return _link(result.outputs["video"], folder) if "video" in result.outputs else None


def _sounds(worker: Worker, done: Mapping[StepRef, FinishedStep]) -> list[SoundShown]:
    """Coarse audio with the voice-over marked, the voice taken out, and what was published."""
    shown: list[SoundShown] = []
    for number in (1, 2):
        if (generated := done.get(StepRef(Step.GENERATE, number))) is not None:
            judged = done.get(StepRef(Step.JUDGE, number))
            title = "coarse audio" if number == 1 else "coarse audio, generated again"
            shown += _sound(worker, title, generated.outputs["coarse"], off_screen_spans(judged) if judged else [])
    for finished in done.values():
        for role, title in (("voice", "voice taken out"), ("audio", "published")):
            if finished.at.step is Step.PUBLISH and role in finished.outputs:
                shown += _sound(worker, title, finished.outputs[role], ())
    return shown


def _sound(worker: Worker, title: str, artifact: Artifact, spans: Sequence[Span]) -> Iterator[SoundShown]:
    """Nothing where retention has deleted it."""
    # Only here: drawing needs matplotlib, which takes most of a second to import.
    from tasks.report.sound_pictures import sound_picture

    if not worker.store.has(artifact.sha256):
        return
    with worker.store.local(artifact.sha256) as path:
        png = sound_picture(path, spans)
    yield SoundShown(title, f"data:image/png;base64,{base64.b64encode(png).decode()}", artifact.sha256)


def _part(item: ItemRow) -> str:
    """What of the source is played, as a media fragment (W3C Media Fragments 1.0, 4.2.1)."""
    part = range_of(item.overrides)
    return "" if part is None else f"#t={part.start:g}" + ("" if part.end is None else f",{part.end:g}")


def _link(file: Location, folder: Path | None, part: str = "") -> str | None:
    """A relative link from the page to a file, so that both can be moved together; None for a remote file."""
    if folder is None or file.path is None:
        return None
    return quote(os.fsencode(os.path.relpath(file.path, folder))) + part


def _quoted(attempt: AttemptRow, start: int, end: int) -> str:
    return (attempt.raw_output or "")[start:end]
