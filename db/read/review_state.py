"""Which items need a review, which judgement a review is of, and which reviews are in effect.

A review is in effect as long as the attempt it judges is current. Of several reviews of one judgement, the latest
is in effect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased, selectinload

from db.read.run_state import lock_run
from db.schema.records import AttemptStatus, StepRef
from db.schema.tables import AttemptRow, ItemRow, ReviewRow, RunRow, WorkRow
from db.state.attempt_history import AttemptSummary, ItemState, item_states
from db.state.lease_queue import IS_OPEN
from deepsound.canonical_json import Json
from deepsound.cot import Verdict
from deepsound.errors import BadSettingsError
from deepsound.pipeline import OutcomeKind, Step


@dataclass(frozen=True, slots=True)
class JudgementRef:
    """The judgement that a review is of: its attempt, its step, and the step that followed it."""

    item_id: int
    run_id: str
    attempt_id: int
    at: StepRef
    followed_by: StepRef


@dataclass(frozen=True, slots=True)
class Review:
    """A review that is in effect."""

    seq: int
    by: str
    verdict: Verdict
    reason: str
    hash: str

    def to_json(self) -> dict[str, Json]:
        """Returns the review as results of later attempts record it; `hash` identifies it across items."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ItemToReview:
    """An item that needs a review, and why; `settings` are its run's."""

    item_id: int
    run_id: str
    output_name: str
    source: str
    why: str
    settings: Mapping[str, Json]


def find_judgement(session: Session, item_id: int) -> JudgementRef:
    """Returns the latest judgement of an ended item, and locks its run until the transaction ends.

    Raises BadSettingsError for an item that has open steps or was never judged.
    """
    run_id = session.scalars(select(ItemRow.run_id).where(ItemRow.id == item_id)).one()
    lock_run(session, run_id)
    where = f"item {item_id}"
    if session.scalar(select(exists().where(WorkRow.item_id == item_id, IS_OPEN))):
        remedy = f"review it once `deepsound run status {run_id}` shows that it has ended"
        raise BadSettingsError("it has not ended", where=where, remedy=remedy)
    attempts = item_states(session, [item_id])[item_id].attempts
    judged = [number for number, attempt in enumerate(attempts) if _is_judgement(attempt)]
    if not judged:
        remedy = (
            f"see `deepsound audit show {item_id}`; `deepsound run retry {run_id}` tries failed steps again; "
            "for an unreadable plan, run the video with --plan constant"
        )
        raise BadSettingsError("it ended before anything was judged", where=where, remedy=remedy)
    judgement, following = attempts[judged[-1]], attempts[judged[-1] + 1]
    return JudgementRef(item_id, run_id, judgement.id, judgement.at, following.at)


def current_reviews(session: Session, item_ids: Sequence[int]) -> dict[int, dict[StepRef, Review]]:
    """Returns the reviews in effect, by item id and judged step. Items without one are left out."""
    query = select(ReviewRow).where(ReviewRow.item_id.in_(item_ids)).order_by(ReviewRow.item_id, ReviewRow.seq)
    rows = session.scalars(query).all()
    states = item_states(session, list({row.item_id for row in rows}))
    reviews: dict[int, dict[StepRef, Review]] = {}
    for row in rows:
        if (at := _judged_step(states[row.item_id], row.attempt_id)) is not None:
            review = Review(row.seq, row.reviewer, Verdict(row.verdict), row.reason, row.hash)
            reviews.setdefault(row.item_id, {})[at] = review
    return reviews


def items_to_review(session: Session) -> list[ItemToReview]:
    """Returns every item that ended as `needs_review`, newest run first, in the order of its manifest."""
    later = aliased(AttemptRow)
    ended = (
        select(ItemRow, RunRow.settings, AttemptRow)
        .join(RunRow, ItemRow.run_id == RunRow.id)
        .join(AttemptRow, AttemptRow.item_id == ItemRow.id)
        .where(
            AttemptRow.outcome == OutcomeKind.NEEDS_REVIEW.value,
            ~exists().where(later.item_id == AttemptRow.item_id, later.seq > AttemptRow.seq),
            ~exists().where(WorkRow.item_id == AttemptRow.item_id, IS_OPEN),
        )
        .order_by(ItemRow.run_id.desc(), ItemRow.ordinal)
        .options(selectinload(AttemptRow.reused))
    )
    return [
        ItemToReview(item.id, item.run_id, item.output_name, item.source, _why(attempt), settings)
        for item, settings, attempt in session.execute(ended).tuples()
    ]


def _why(attempt: AttemptRow) -> str:
    return str(((attempt.reused or attempt).result or {}).get("why", ""))


def _judged_step(state: ItemState, attempt_id: int) -> StepRef | None:
    return next((attempt.at for attempt in state.attempts if attempt.id == attempt_id), None)


def _is_judgement(attempt: AttemptSummary) -> bool:
    return attempt.step == Step.JUDGE.value and attempt.status != AttemptStatus.FAILED.value
