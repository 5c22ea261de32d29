"""The result of each video of a run, as a table and as JSON."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from console.cli.terminal import err
from deepsound.canonical_json import Json
from deepsound.pipeline import OutcomeKind
from deepsound.terminal_text import json_safe, terminal_safe
from tasks.operations.run_results import ItemResult
from tasks.runtime.deciding_judgement import decision_json


def as_json(run_id: str, results: Sequence[ItemResult]) -> Json:
    """The object that `dub --json` prints."""
    return {"run": run_id, "items": [_item_json(result) for result in results]}


def summary_table(results: Sequence[ItemResult]) -> Table:
    """A row for each item: outcome, verdict, probability, loudness, time and reason."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("video", "outcome", "verdict", "probability", "LUFS", "seconds", "reason"):
        table.add_column(heading, justify="right" if heading in ("probability", "LUFS", "seconds") else "left")
    for result in results:
        table.add_row(
            terminal_safe(result.name),
            Text(*_OUTCOME_SHOWN[result.outcome]),
            "–" if result.decided is None else str(result.decided),
            _number(result.probability, ".2f"),
            _number(result.loudness, ".1f"),
            "reused" if result.was_reused else f"{result.seconds:.1f}",
            terminal_safe(result.why or _where_it_stopped(result)),
        )
    return table


def show_errors(results: Sequence[ItemResult]) -> None:
    """Print one line on stderr for each video that failed or has not ended."""
    for result in results:
        if result.error is not None:
            err.print(result.error, style="red", soft_wrap=True)


_OUTCOME_SHOWN: dict[OutcomeKind | None, tuple[str, str]] = {
    OutcomeKind.DONE: ("done", "green"),
    OutcomeKind.NEEDS_REVIEW: ("needs review", "yellow"),
    OutcomeKind.REMOVED: ("removed", "yellow"),
    OutcomeKind.FAILED: ("failed", "red"),
    None: ("open", "red"),
}


def _where_it_stopped(result: ItemResult) -> str:
    return f"stopped at {result.steps[-1].step}, see the error above" if result.steps else "not started"


def _item_json(result: ItemResult) -> Json:
    outputs = {role: json_safe(path) for role, path in result.outputs.items()}
    stems = {role: path for role, path in outputs.items() if role not in ("video", "audio", "sidecar")}
    return {
        "input": json_safe(result.source),
        "outcome": result.outcome,
        "why": result.why,
        **decision_json(result.decided),
        "spans": result.voices,
        "outputs": {
            "video": outputs.get("video"),
            "audio": outputs.get("audio"),
            "stems": dict(stems),
            "sidecar": outputs.get("sidecar"),
        },
        "loudness_lufs": result.loudness,
        "steps": [
            {
                "step": step.step,
                "attempts": step.attempts,
                "reused": step.is_reused,
                "seconds": round(step.seconds, 3),
            }
            for step in result.steps
        ],
        "error": result.error,
    }


def _number(value: float | None, shown: str) -> str:
    return "–" if value is None else format(value, shown)
