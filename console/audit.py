"""`deepsound audit show`: what was done to a video, by what, and because of which words."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text
from rich.tree import Tree

from console.settings import settings_from
from console.terminal import out, say
from db.audit import find_items, item_evidence
from db.schema import Attempt, Decision, Effect, Item
from deepsound.canonical import Json
from deepsound.errors import DeepSoundError, ErrorCode
from tasks.deliver import speakable
from tasks.worker import worker_at

app = typer.Typer(no_args_is_help=True)


@app.callback()
def audit() -> None:
    """What was done to a video, and why."""


@app.command("show")
def show(
    known: Annotated[str, typer.Argument(help="A run, an item, a file's name, or the SHA-256 of any file.")],
    db: Annotated[str | None, typer.Option(help="URL of the ledger's database.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show everything the ledger holds on a video."""
    settings = settings_from(db=db)
    ledger = worker_at(settings.place).ledger
    with ledger.read() as session:
        items = item_evidence(session, sorted(find_items(session, known)))
    if not items:
        raise DeepSoundError(
            ErrorCode.BAD_SETTINGS,
            f"nothing is known of {known!r}",
            where=ledger.url,
            remedy="name a run, an item, a source file or a SHA-256, and check --db",
        )
    if as_json:
        out.file.write(json.dumps({"items": [_item_json(item) for item in items]}, ensure_ascii=False) + "\n")
        return
    for item in items:
        out.print(_item_tree(item))


@app.command("report")
def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids of the runs to show.")],
    target: Annotated[Path, typer.Option("-o", "--out", help="The page to write.")] = Path("report.html"),
    db: Annotated[str | None, typer.Option(help="URL of the ledger's database.")] = None,
    store: Annotated[str | None, typer.Option(help="Artifact store: a folder, or s3://bucket/prefix.")] = None,
) -> None:
    """Write a page to look at, listen to and check."""
    # Only here: drawing needs matplotlib, which takes most of a second to import.
    from console.report.build import write_report

    settings = settings_from(db=db, store=store)
    write_report(worker_at(settings.place), runs, target)
    say(f"report written to {target}")


def _item_tree(item: Item) -> Tree:
    tree = Tree(Text(f"{item.output_name}  (item {item.id} of run {item.run_id})", style="bold"))
    tree.add(Text(f"source {speakable(item.source)}"))
    tree.add(Text(f"sha256 {item.video_sha256 or 'none: it could not be read'}"))
    tree.add(Text(f"settings {json.dumps(item.run.settings, ensure_ascii=False)}"))
    for attempt in item.attempts:
        _add_attempt(tree, attempt)
    for review in item.reviews:
        tree.add(Text(f"review by {review.reviewer}: {review.verdict}, {review.reason}"))
    return tree


def _add_attempt(tree: Tree, attempt: Attempt) -> None:
    took = (attempt.ended_at - attempt.started_at).total_seconds()
    again = f", round {attempt.round}" if attempt.round > 1 else ""
    tries = f", try {attempt.number}" if attempt.number > 1 else ""
    style = {"failed": "red", "reused": "cyan"}.get(attempt.status, "green")
    heading = Text.assemble(
        (attempt.step, "bold"), again, tries, "  ", (attempt.status, style), f"  {attempt.backend}  {took:.2f} s"
    )
    branch = tree.add(heading)
    for line in _facts(attempt):
        branch.add(Text(line))
    words = attempt.reused or attempt
    for thought in words.thoughts:
        branch.add(Text.assemble((thought.stage.upper(), "italic"), " ", thought.text))
    for decision in words.decisions:
        branch.add(Text(_decided(words, decision), style="bold"))
    for effect in words.effects:
        branch.add(Text(_changed(effect)))


def _facts(attempt: Attempt) -> Iterator[str]:
    if attempt.reused_attempt_id is not None:
        yield f"stands on attempt {attempt.reused_attempt_id}, which has the same step key"
    if attempt.error_code is not None:
        yield f"{attempt.error_code}: {attempt.error_message}"
    yield f"attempt {attempt.id}, key {attempt.step_key}, hash {attempt.hash}"
    for used in attempt.models:
        yield f"model {used.model.name} {used.model.revision}, {used.model.licence}"
    if attempt.prompt is not None:
        yield f"asked: {attempt.prompt.body}"
    for link in (attempt.reused or attempt).artifacts:
        yield f"{link.direction} {link.role} {link.artifact_sha256} ({link.artifact.size} bytes)"


def _decided(attempt: Attempt, decision: Decision) -> str:
    sure = "" if decision.confidence is None else f" (probability {decision.confidence:.3f})"
    read = ""
    if attempt.raw_output is not None and decision.span_start is not None and decision.span_end is not None:
        quoted = attempt.raw_output[decision.span_start : decision.span_end]
        shown = quoted if len(quoted) <= 40 else f"{quoted[:37]}…"
        read = f", read from characters {decision.span_start} to {decision.span_end}: {shown!r}"
    return f"decided {decision.key} = {decision.value}{sure}{read}"


def _changed(effect: Effect) -> str:
    measured = [
        _change("speech", effect.speech_seconds_before, effect.speech_seconds_after, "s"),
        _change("level there", effect.speech_level_before, effect.speech_level_after, "dBFS"),
        _change("loudness", effect.loudness_before, effect.loudness_after, "LUFS"),
    ]
    said = "; ".join(part for part in measured if part)
    where = f"{effect.start_seconds:.2f} to {effect.end_seconds:.2f} s"
    return f"{effect.operation} {where}" + (f": {said}" if said else "")


def _change(what: str, before: float | None, after: float | None, unit: str) -> str:
    if before is None and after is None:
        return ""
    shown = ["unmeasurable" if value is None else f"{value:.1f}" for value in (before, after)]
    return f"{what} {shown[0]} → {shown[1]} {unit}"


def _item_json(item: Item) -> Json:
    return {
        "item": item.id,
        "run": item.run_id,
        "name": item.output_name,
        "source": speakable(item.source),
        "video_sha256": item.video_sha256,
        "settings": item.run.settings,
        "attempts": [_attempt_json(attempt) for attempt in item.attempts],
        "reviews": [
            {"reviewer": review.reviewer, "verdict": review.verdict, "reason": review.reason}
            for review in item.reviews
        ],
    }


def _attempt_json(attempt: Attempt) -> Json:
    words = attempt.reused or attempt
    return {
        **_columns(attempt, _ATTEMPT_COLUMNS),
        "started_at": attempt.started_at.isoformat(),
        "ended_at": attempt.ended_at.isoformat(),
        "prompt": attempt.prompt.body if attempt.prompt else None,
        "parameters": json.loads(attempt.parameters.body) if attempt.parameters else None,
        "frames": json.loads(words.frames.body) if words.frames else None,
        "raw_output": words.raw_output,
        "result": words.result,
        "models": [_columns(used.model, ("name", "revision", "licence", "files")) for used in attempt.models],
        "artifacts": [
            {"direction": link.direction, "role": link.role, "sha256": link.artifact_sha256}
            for link in words.artifacts
        ],
        "thoughts": [_columns(thought, _THOUGHT_COLUMNS) for thought in words.thoughts],
        "decisions": [_columns(decision, _DECISION_COLUMNS) for decision in words.decisions],
        "effects": [_columns(effect, _EFFECT_COLUMNS) for effect in words.effects],
    }


_ATTEMPT_COLUMNS = (
    *(
        "id",
        "seq",
        "step",
        "round",
        "number",
        "status",
        "reused_attempt_id",
        "outcome",
        "step_key",
        "step_version",
    ),
    *("backend", "seed", "parser_version", "probability", "host", "device", "prefect_flow_run_id"),
    *("prefect_task_run_id", "error_code", "error_message", "is_retryable", "previous_hash", "hash"),
)
_THOUGHT_COLUMNS = ("stage", "text", "span_start", "span_end")
_DECISION_COLUMNS = ("key", "value", "confidence", "span_start", "span_end", "parser_version")
_EFFECT_COLUMNS = (
    *("operation", "start_seconds", "end_seconds", "before_sha256", "after_sha256"),
    *("decision_attempt_id", "decision_position", "speech_seconds_before", "speech_seconds_after"),
    *("speech_level_before", "speech_level_after", "loudness_before", "loudness_after"),
)


def _columns(row: object, names: Sequence[str]) -> dict[str, Json]:
    return {name: getattr(row, name) for name in names}
