"""Builds the HTML report of runs from the ledger and the artifact store."""

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

MAX_DETAILED = 200
"""Items of a run that the page shows in detail: with more it is slow to open."""


@dataclass(frozen=True, slots=True)
class ReportLine:
    """An item in the table of all items; `after` links to its result."""

    result: ItemResult
    after: str | None


@dataclass(frozen=True, slots=True)
class ReportSound:
    """A sound of an item; `picture` is the data URL of its waveform and spectrogram."""

    title: str
    picture: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ReportAttempt:
    """An attempt of an item.

    `evidence` is the attempt whose thoughts, decisions and effects are shown: itself, or the one that it reused.
    `is_current` is False where a retry took it back. `decided` is True for the judgement that decided.
    """

    attempt: AttemptRow
    evidence: AttemptRow
    is_current: bool
    decided: bool


@dataclass(frozen=True, slots=True)
class ReportItem:
    """An item in detail; `before` and `after` link to the source and the result."""

    result: ItemResult
    row: ItemRow
    before: str | None
    after: str | None
    sounds: Sequence[ReportSound]
    attempts: Sequence[ReportAttempt]


def write_report(
    worker: Worker, run_ids: Sequence[str], target: Path, *, folder: Path | None, with_done: bool = True
) -> None:
    """Write the page of some runs to `target`. Raises DeepSoundError.

    Links to videos are relative to `folder`, from where the page will be opened; None means no links.
    The table has every item. Those that are not done are shown in detail, with `with_done` the others too, up to
    `MAX_DETAILED` of each run.
    """
    results = {run_id: read_results(worker, run_id) for run_id in run_ids}
    folder = None if folder is None else folder.absolute()
    detailed = [
        item
        for run_id, of_run in results.items()
        for item in _report_items(worker, run_id, _choose_detailed(of_run, with_done), folder)
    ]
    lines = [ReportLine(result, _result_link(result, folder)) for of_run in results.values() for result in of_run]
    outcomes = Counter("open" if line.result.outcome is None else line.result.outcome.value for line in lines)
    environment = Environment(loader=PackageLoader("tasks.report", "."), autoescape=True)
    environment.filters["terminal_safe"] = terminal_safe
    environment.filters["quoted"] = _quoted  # pyright: ignore[reportArgumentType] - typed as one of its own filters
    page = environment.get_template("page.html").render(items=detailed, lines=lines, outcomes=outcomes)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _choose_detailed(results: Sequence[ItemResult], with_done: bool) -> list[ItemResult]:
    not_done = [result for result in results if result.outcome is not OutcomeKind.DONE]
    done = [result for result in results if result.outcome is OutcomeKind.DONE] if with_done else []
    chosen = {result.item for result in [*not_done, *done][:MAX_DETAILED]}
    return [result for result in results if result.item in chosen]


def _report_items(
    worker: Worker, run_id: str, results: Sequence[ItemResult], folder: Path | None
) -> list[ReportItem]:
    ids = [result.item for result in results]
    with worker.ledger.read() as session:
        rows = item_evidence(session, ids)
    return [
        ReportItem(
            result=result,
            row=row,
            before=_link(location(result.source), folder, _media_fragment(row)),
            after=_result_link(result, folder),
            sounds=_sounds(worker, item.done),
            attempts=list(_attempts(row, result)),
        )
        for result, row, item in zip(results, rows, load_items(worker, run_id, ids), strict=True)
    ]


def _attempts(row: ItemRow, result: ItemResult) -> Iterator[ReportAttempt]:
    current = {attempt.id for attempt in replay_rows(row.attempts, row.retries).attempts}
    for attempt in row.attempts:
        evidence = attempt.reused or attempt
        decided = (
            result.decided is not None
            and attempt.id in current
            and (attempt.step, attempt.round) == (Step.JUDGE, result.decided.round)
            and evidence.id == result.decided.judgement.attempt_id
        )
        yield ReportAttempt(attempt, evidence, attempt.id in current, decided)


def _sounds(worker: Worker, done: Mapping[StepRef, FinishedStep]) -> list[ReportSound]:
    """The coarse audio of each round with the voice-over marked, the removed voice, and the published sound."""
    sounds: list[ReportSound] = []
    for round_number in (1, 2):
        if (generated := done.get(StepRef(Step.GENERATE, round_number))) is not None:
            judged = done.get(StepRef(Step.JUDGE, round_number))
            title = "coarse audio" if round_number == 1 else "coarse audio, round 2"
            spans = off_screen_spans(judged) if judged else []
            sounds += _sound(worker, title, generated.outputs["coarse"], spans)
    for finished in done.values():
        for role, title in (("voice", "removed voice"), ("audio", "published")):
            if finished.at.step is Step.PUBLISH and role in finished.outputs:
                sounds += _sound(worker, title, finished.outputs[role], ())
    return sounds


def _sound(worker: Worker, title: str, artifact: Artifact, spans: Sequence[Span]) -> Iterator[ReportSound]:
    """Yields nothing where retention has deleted the artifact."""
    # Imported here, since matplotlib takes most of a second to import.
    from tasks.report.sound_pictures import sound_picture

    if not worker.store.has(artifact.sha256):
        return
    with worker.store.local(artifact.sha256) as path:
        png = sound_picture(path, spans)
    yield ReportSound(title, f"data:image/png;base64,{base64.b64encode(png).decode()}", artifact.sha256)


def _media_fragment(row: ItemRow) -> str:
    """The time range of the source that the player plays (W3C Media Fragments URI 1.0, 4.2.1)."""
    part = range_of(row.overrides)
    return "" if part is None else f"#t={part.start:g}" + ("" if part.end is None else f",{part.end:g}")


def _result_link(result: ItemResult, folder: Path | None) -> str | None:
    return _link(result.outputs["video"], folder) if "video" in result.outputs else None


def _link(file: Location, folder: Path | None, fragment: str = "") -> str | None:
    """A link relative to the page, so that both can be moved together; None for a remote file."""
    if folder is None or file.path is None:
        return None
    return quote(os.fsencode(os.path.relpath(file.path, folder))) + fragment


def _quoted(attempt: AttemptRow, start: int, end: int) -> str:
    return (attempt.raw_output or "")[start:end]
