"""A person rules on a judgement: written down, and only what follows from it is opened again."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from db.read.items import find_run, run_items
from db.read.queries import item_history
from db.read.review_state import JudgementRef, current_reviews, find_judgement
from db.schema.database import no_such_run
from db.schema.records import FinishedStep, StepRef
from db.write.reviews import NewReview, record_review
from deepsound.cot import Verdict
from deepsound.errors import ArtifactMissingError
from deepsound.pipeline import Step, next_action
from tasks.runtime.item import chain_state
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.worker import Worker


def review_item(worker: Worker, item_id: int, review: NewReview) -> tuple[str, int]:
    """Put a person's verdict before the judge's. Returns the run, which is to go on, and the review's number.

    Raises DeepSoundError (BAD_SETTINGS: the item has not ended, or was never judged; ARTIFACT_MISSING: what was
    judged is no longer there to go on from).
    """
    _check_kept(worker, item_id)
    with worker.ledger.write() as session:
        judgement = find_judgement(session, item_id)
        next_step = _next_step(session, judgement, review.verdict)
        return judgement.run_id, record_review(session, judgement, review, next_step)


def _check_kept(worker: Worker, item_id: int) -> None:
    """Before anything is written: what follows from another verdict is made from what was seen and judged."""
    with worker.ledger.read() as session:
        history = item_history(session, item_id)
    made = [step.outputs for step in history if step.at.step in (Step.PLAN, Step.GENERATE)]
    gone = [
        role for outputs in made for role, artifact in outputs.items() if not worker.store.has(artifact.sha256)
    ]
    if gone:
        raise ArtifactMissingError(
            f"its {' and '.join(gone)} were deleted, by retention most likely",
            where=f"item {item_id}",
            remedy="have it made again with `deepsound run retry RUN --step plan --video NAME`, then review it",
        )


def _next_step(session: Session, judgement: JudgementRef, verdict: Verdict) -> StepRef:
    """What the decision table says comes next where nothing but the verdict is another."""
    item_id, run_id = judgement.item_id, judgement.run_id
    run, [item] = find_run(session, run_id), run_items(session, run_id, [item_id])
    if run is None:
        raise no_such_run(session, run_id)
    held = {at: review.verdict for at, review in current_reviews(session, [item_id]).get(item_id, {}).items()}
    known = chain_state(_until(judgement.at, item_history(session, item_id)), {**held, judgement.at: verdict})
    action = next_action(RunSettings.from_json(run.settings).with_overrides(item.overrides).policy, known)
    if action is None:
        raise ValueError("a judgement is always followed by something")
    return StepRef(action.step, action.round)


def _until(last: StepRef, history: tuple[FinishedStep, ...]) -> Mapping[StepRef, FinishedStep]:
    known: dict[StepRef, FinishedStep] = {}
    for finished in history:
        known[finished.at] = finished
        if finished.at == last:
            break
    return known
