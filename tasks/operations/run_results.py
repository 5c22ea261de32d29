"""What became of each video of a run, as the ledger has it."""

from collections.abc import Sequence
from dataclasses import dataclass

from db.read.items import ItemSummary, StepTotals, find_run, item_summaries
from db.read.queries import item_histories
from db.schema.database import no_such_run
from db.schema.records import FinishedStep, StepRef
from deepsound.canonical_json import Json
from deepsound.pipeline import OutcomeKind, Step
from deepsound.storage.location import Location
from deepsound.terminal_text import terminal_safe
from tasks.delivery.deliver import result_locations
from tasks.operations.run_activity import stop_reason
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.worker import Worker


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One video: how it ended, what was judged of its coarse audio, and where its results are."""

    item: int
    name: str
    source: str
    outcome: OutcomeKind | None
    why: str | None
    verdict: str | None
    probability: float | None
    voices: Json
    outputs: dict[str, Location]
    loudness: float | None
    steps: tuple[StepTotals, ...]
    error: str | None

    @property
    def is_failure(self) -> bool:
        """Failed, or still open because nothing could go on."""
        return self.outcome in (OutcomeKind.FAILED, None)

    @property
    def was_reused(self) -> bool:
        """Whether no step had to be done for it."""
        return bool(self.steps) and all(step.is_reused for step in self.steps)

    @property
    def seconds(self) -> float:
        """Time spent in its steps."""
        return sum(step.seconds for step in self.steps)


def read_results(worker: Worker, run_id: str) -> list[ItemResult]:
    """Every item of a run, in order. Raises DeepSoundError."""
    remedy = stop_reason(worker, run_id) or "run the same command again"
    with worker.ledger.read() as session:
        run = find_run(session, run_id)
        if run is None:
            raise no_such_run(session, run_id)
        out = RunSettings.from_json(run.settings).out
        ends = item_summaries(session, run_id)
        histories = item_histories(session, [end.item.id for end in ends])
        return [_result(end, histories[end.item.id], out, remedy) for end in ends]


def _result(end: ItemSummary, history: Sequence[FinishedStep], out: Location, remedy: str) -> ItemResult:
    done = {finished.at: finished for finished in history}
    judged = done.get(StepRef(Step.JUDGE))
    published = next((finished for at, finished in done.items() if at.step is Step.PUBLISH), None)
    judgement = judged.result if judged else {}
    review = published.result.get("review") if published else None
    ruling = review if isinstance(review, dict) else judgement
    loudness = published.result.get("loudness") if published else None
    lufs = loudness.get("lufs") if isinstance(loudness, dict) else None
    return ItemResult(
        item=end.item.id,
        name=end.item.output_name,
        source=end.item.source,
        outcome=end.outcome,
        why=str(published.result["why"]) if published else None,
        verdict=str(ruling["verdict"]) if ruling else None,
        probability=judged.probability if judged else None,
        voices=judgement.get("voices", []),
        outputs=result_locations(out, end.item.output_name, published) if published else {},
        loudness=float(lufs) if isinstance(lufs, int | float) else None,
        steps=end.steps,
        error=_error(end, remedy),
    )


def _error(end: ItemSummary, remedy: str) -> str | None:
    """One line that names step, file and remedy; None where nothing went wrong."""
    if end.outcome not in (OutcomeKind.FAILED, None):
        return None
    if end.steps and end.error:
        return f"{terminal_safe(end.item.output_name)}: {end.steps[-1].step}: {end.error}"
    return f"{terminal_safe(end.item.output_name)}: not finished; {remedy}"
