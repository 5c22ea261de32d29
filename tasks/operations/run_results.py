"""Reads the result of each item of a run from the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass

from db.read.items import ItemSummary, StepTotals, find_run, item_summaries
from db.read.queries import item_histories
from db.read.review_state import current_reviews
from db.schema.database import no_such_run
from db.schema.records import FinishedStep
from deepsound.canonical_json import Json
from deepsound.cot import Verdict
from deepsound.pipeline import OutcomeKind, Step
from deepsound.storage.location import Location
from deepsound.terminal_text import terminal_safe
from tasks.delivery.deliver import result_locations
from tasks.operations.run_activity import stop_reason
from tasks.runtime.deciding_judgement import DecidingJudgement, deciding_judgement
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.worker import Worker


@dataclass(frozen=True, slots=True)
class ItemResult:
    """How an item ended, and why; the judgement that decided; its delivered files by role.

    `outcome` is None while the item is open. `loudness` is in LUFS. `error` is one line for a failed or open item.
    """

    item: int
    name: str
    source: str
    outcome: OutcomeKind | None
    why: str | None
    decided: DecidingJudgement | None
    outputs: dict[str, Location]
    loudness: float | None
    steps: tuple[StepTotals, ...]
    error: str | None

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that decided; None where no judgement did."""
        return None if self.decided is None else self.decided.verdict

    @property
    def probability(self) -> float | None:
        """The probability of voice-over by the judgement that decided."""
        return None if self.decided is None else self.decided.probability

    @property
    def voices(self) -> Json:
        """The voices that the judgement that decided heard, as its result has them."""
        return [] if self.decided is None else self.decided.judgement.result.get("voices", [])

    @property
    def is_failure(self) -> bool:
        """Whether the item failed or is still open."""
        return self.outcome in (OutcomeKind.FAILED, None)

    @property
    def was_reused(self) -> bool:
        """Whether every step was reused from an earlier attempt."""
        return bool(self.steps) and all(step.is_reused for step in self.steps)

    @property
    def seconds(self) -> float:
        """Time spent in its steps."""
        return sum(step.seconds for step in self.steps)


def read_results(worker: Worker, run_id: str) -> list[ItemResult]:
    """The result of every item of a run, in the order of its manifest. Raises DeepSoundError."""
    remedy = stop_reason(worker, run_id) or "run the same command again"
    with worker.ledger.read() as session:
        run = find_run(session, run_id)
        if run is None:
            raise no_such_run(session, run_id)
        out = RunSettings.from_json(run.settings).out
        summaries = item_summaries(session, run_id)
        ids = [summary.item.id for summary in summaries]
        histories, reviews = item_histories(session, ids), current_reviews(session, ids)
    return [
        _result(
            summary,
            histories[summary.item.id],
            deciding_judgement(
                {step.at: step for step in histories[summary.item.id]}, reviews.get(summary.item.id, {})
            ),
            out,
            remedy,
        )
        for summary in summaries
    ]


def _result(
    summary: ItemSummary,
    history: Sequence[FinishedStep],
    decided: DecidingJudgement | None,
    out: Location,
    remedy: str,
) -> ItemResult:
    published = next((step for step in history if step.at.step is Step.PUBLISH), None)
    loudness = published.result.get("loudness") if published else None
    lufs = loudness.get("lufs") if isinstance(loudness, dict) else None
    return ItemResult(
        item=summary.item.id,
        name=summary.item.output_name,
        source=summary.item.source,
        outcome=summary.outcome,
        why=str(published.result["why"]) if published else None,
        decided=decided,
        outputs=result_locations(out, summary.item.output_name, published) if published else {},
        loudness=float(lufs) if isinstance(lufs, int | float) else None,
        steps=summary.steps,
        error=_error(summary, remedy),
    )


def _error(summary: ItemSummary, remedy: str) -> str | None:
    """One line that names item, step and remedy; None for an item that ended without failure."""
    if summary.outcome not in (OutcomeKind.FAILED, None):
        return None
    name = terminal_safe(summary.item.output_name)
    if summary.steps and summary.error:
        return f"{name}: {summary.steps[-1].step}: {summary.error}"
    return f"{name}: not finished; {remedy}"
