"""A person's rulings on judgements: who decided what, and why.

A review is a link of the item's chain, and the next link is the reopening of what had followed the judgement. It
holds as long as the attempt that was judged stands; of several on one judgement the last holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sqlalchemy import exists, insert, select
from sqlalchemy.orm import Session, aliased, selectinload

from db.schema.column_types import stored
from db.schema.hashing import review_hash
from db.schema.records import AttemptStatus, StepRef
from db.schema.tables import AttemptRow, ItemRow, ReviewRow, RunRow, WorkRow, table_of
from db.state.attempt_history import AttemptSummary, ItemState
from db.state.lease_queue import IS_OPEN, item_states
from db.write.retries import RetryRequest, chain_ends, retry_steps
from db.write.run_events import locked_run
from deepsound.canonical_json import Json
from deepsound.cot import Verdict
from deepsound.errors import BadSettingsError, DeepSoundError
from deepsound.pipeline import OutcomeKind, Step


@dataclass(frozen=True, slots=True)
class JudgementRef:
    """The judgement of an item that a review is of: its attempt, and the step that came of it."""

    item_id: int
    run_id: str
    attempt_id: int
    at: StepRef
    followed_by: StepRef


@dataclass(frozen=True, slots=True)
class NewReview:
    """What a person (user@host) says of a judgement."""

    by: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Review:
    """A review that holds."""

    seq: int
    by: str
    verdict: Verdict
    reason: str
    hash: str

    def to_json(self) -> dict[str, Json]:
        """As attempts that follow from it name it; `hash` tells it from reviews of other items."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ItemToReview:
    """An item that a person has to decide, and why; `settings` are its run's."""

    item_id: int
    run_id: str
    output_name: str
    source: str
    why: str
    settings: Mapping[str, Json]


def find_judgement(session: Session, item_id: int) -> JudgementRef:
    """The last judgement of an item that has ended. Raises DeepSoundError (BAD_SETTINGS: none to review)."""
    run_id = session.scalars(select(ItemRow.run_id).where(ItemRow.id == item_id)).one()
    locked_run(session, run_id)
    if session.scalar(select(exists().where(WorkRow.item_id == item_id, IS_OPEN))):
        raise _refused(item_id, "it has not ended", f"see `deepsound run status {run_id}`, and review it then")
    attempts = item_states(session, [item_id])[item_id].attempts
    judged = [number for number, attempt in enumerate(attempts) if _is_judgement(attempt)]
    if not judged:
        remedy = (
            f"see `deepsound audit show {item_id}`; `deepsound run retry {run_id}` does steps again; "
            "where no plan could be read, run it with --plan constant"
        )
        raise _refused(item_id, "it ended before anything was judged", remedy)
    attempt, after = attempts[judged[-1]], attempts[judged[-1] + 1]
    return JudgementRef(item_id, run_id, attempt.id, attempt.at, after.at)


def record_review(session: Session, judgement: JudgementRef, review: NewReview, next_step: StepRef) -> int:
    """Write a review, take back what followed the judgement, and open the step `next_step`. Returns its number."""
    item_id = judgement.item_id
    past = session.scalars(select(ReviewRow.seq).where(ReviewRow.item_id == item_id)).all()
    row = stored(
        table_of(ReviewRow),
        {
            "item_id": item_id,
            "seq": len(past) + 1,
            "attempt_id": judgement.attempt_id,
            "reviewer": review.by,
            "verdict": review.verdict,
            "reason": review.reason,
            "created_at": datetime.now(UTC),
            "previous_hash": chain_ends(session, [item_id])[item_id].hash,
        },
    )
    judged = session.scalars(select(AttemptRow.hash).where(AttemptRow.id == judgement.attempt_id)).one()
    session.execute(insert(table_of(ReviewRow)), {**row, "hash": review_hash(row, judged)})
    reason = f"review {row['seq']}: {review.verdict}, {review.reason}"
    # Where the verdict leads elsewhere, what followed is taken back first, and then the other step is opened.
    for at in dict.fromkeys([judgement.followed_by, next_step]):
        retry_steps(session, {item_id: at}, RetryRequest(review.by, reason, recompute=False))
    return row["seq"]


def current_reviews(session: Session, item_ids: Sequence[int]) -> dict[int, dict[StepRef, Review]]:
    """Of some items, the reviews that hold, by the step they are of. Items without are left out."""
    reviews = select(ReviewRow).where(ReviewRow.item_id.in_(item_ids)).order_by(ReviewRow.item_id, ReviewRow.seq)
    rows = session.scalars(reviews).all()
    stand_now = item_states(session, list({row.item_id for row in rows}))
    holding: dict[int, dict[StepRef, Review]] = {}
    for row in rows:
        if (at := _judged_at(stand_now[row.item_id], row.attempt_id)) is not None:
            said = Review(row.seq, row.reviewer, Verdict(row.verdict), row.reason, row.hash)
            holding.setdefault(row.item_id, {})[at] = said
    return holding


def items_to_review(session: Session) -> list[ItemToReview]:
    """Every item that a person has to decide, newest run first, in the order of its list."""
    later, maker = aliased(AttemptRow), selectinload(AttemptRow.reused)
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
        .options(maker)
    )
    return [
        ItemToReview(item.id, item.run_id, item.output_name, item.source, _why(attempt), settings)
        for item, settings, attempt in session.execute(ended).tuples()
    ]


def _why(attempt: AttemptRow) -> str:
    return str(((attempt.reused or attempt).result or {}).get("why", ""))


def _judged_at(standing: ItemState, attempt_id: int) -> StepRef | None:
    return next((attempt.at for attempt in standing.attempts if attempt.id == attempt_id), None)


def _is_judgement(attempt: AttemptSummary) -> bool:
    return attempt.step == Step.JUDGE.value and attempt.status != AttemptStatus.FAILED.value


def _refused(item_id: int, what: str, remedy: str) -> DeepSoundError:
    return BadSettingsError(what, where=f"item {item_id}", remedy=remedy)
