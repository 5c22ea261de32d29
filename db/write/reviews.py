"""Records a person's verdict on a judgement, and opens the step that follows from it. Writes the table `review`.

A review is a link of the item's hash chain; the retry of what followed the judgement is the next link.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.read.hash_chains import chain_ends
from db.read.review_state import JudgementRef
from db.schema.column_types import stored
from db.schema.hashing import review_hash
from db.schema.records import StepRef
from db.schema.tables import AttemptRow, ReviewRow, table_of
from db.write.retries import RetryRequest, retry_steps
from deepsound.cot import Verdict


@dataclass(frozen=True, slots=True)
class NewReview:
    """A person's (user@host) verdict on a judgement, and the reason."""

    by: str
    verdict: Verdict
    reason: str


def record_review(session: Session, judgement: JudgementRef, review: NewReview, next_step: StepRef) -> int:
    """Inserts a review, retries the step that followed the judgement, and opens `next_step`.

    The judgement must come from `find_judgement` in the same transaction. Returns the review's number.
    """
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
    # If the verdict leads to another step, a first retry supersedes what followed, and a second opens that step.
    for at in dict.fromkeys([judgement.followed_by, next_step]):
        retry_steps(session, {item_id: at}, RetryRequest(review.by, reason, recompute=False))
    return row["seq"]
