"""Which bytes in the artifact store retention may delete. Results of items are never among them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Exists, ScalarSelect, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from db.schema.records import AttemptStatus, Direction
from db.schema.tables import ArtifactRow, AttemptArtifactRow, AttemptRow, ExpiryRow, ItemRow, VideoRow, WorkRow
from db.state.lease_queue import IS_OPEN
from deepsound.pipeline import OutcomeKind, Step


def deletable_artifacts(session: Session, before: datetime, limit: int) -> list[str]:
    """Returns the SHA-256 of up to `limit` artifacts that retention may delete.

    They were last used before a time, and belong neither to a result nor to an item that is open, needs a review
    or ended since. Artifacts whose bytes are already deleted are left out.
    """
    is_expired = exists().where(ExpiryRow.artifact_sha256 == ArtifactRow.sha256, ExpiryRow.at >= last_used())
    query = select(ArtifactRow.sha256).where(last_used() < before, ~_is_needed(before), ~is_expired)
    return list(session.scalars(query.order_by(ArtifactRow.sha256).limit(limit)))


def recently_expired(session: Session, before: datetime, number: int) -> Sequence[str]:
    """Returns the SHA-256 of the latest expired artifacts that are not needed again.

    An expiry is recorded before the bytes are deleted, so the bytes may still be there if the process was killed.
    """
    query = select(ExpiryRow.artifact_sha256).join(ArtifactRow, ArtifactRow.sha256 == ExpiryRow.artifact_sha256)
    query = query.where(ExpiryRow.at >= last_used(), ~_is_needed(before))
    return session.scalars(query.order_by(ExpiryRow.id.desc()).limit(number)).all()


def deletable_sources(session: Session, before: datetime, limit: int, after: str = "") -> list[str]:
    """Returns the SHA-256, in order and greater than `after`, of videos whose items all ended before a time.

    Their bytes in the store are copies of source files.
    """
    attempt = aliased(AttemptRow)
    ended_since = exists().where(attempt.item_id == ItemRow.id, attempt.ended_at >= before)
    is_open = exists().where(WorkRow.item_id == ItemRow.id, IS_OPEN)
    needs_review = _needs_review(attempt).where(attempt.item_id == ItemRow.id)
    needed = (
        exists()
        .where(ItemRow.video_sha256 == VideoRow.sha256, or_(ended_since, is_open, needs_review))
        .correlate(VideoRow)
    )
    is_artifact = exists().where(ArtifactRow.sha256 == VideoRow.sha256)
    query = select(VideoRow.sha256).where(VideoRow.sha256 > after, ~needed, ~is_artifact)
    return list(session.scalars(query.order_by(VideoRow.sha256).limit(limit)))


def last_used() -> ScalarSelect[datetime]:
    """Returns a subquery: when the last attempt ended that read or made an artifact.

    Only attempts that are done count, since failed and reused ones may not have read it.
    """
    ended = select(func.max(AttemptRow.ended_at)).join(
        AttemptArtifactRow, AttemptArtifactRow.attempt_id == AttemptRow.id
    )
    ended = ended.where(AttemptRow.status == AttemptStatus.DONE.value)
    return (
        ended.where(AttemptArtifactRow.artifact_sha256 == ArtifactRow.sha256)
        .correlate(ArtifactRow)
        .scalar_subquery()
    )


def unreferenced(session: Session, hashes: Sequence[str]) -> set[str]:
    """Returns the hashes that are neither an artifact's nor a video's."""
    artifacts = session.scalars(select(ArtifactRow.sha256).where(ArtifactRow.sha256.in_(hashes)))
    videos = session.scalars(select(VideoRow.sha256).where(VideoRow.sha256.in_(hashes)))
    return {*hashes} - {*artifacts} - {*videos}


def _is_needed(before: datetime) -> ColumnElement[bool]:
    """Whether an artifact is part of a result, or was used by an attempt of an item that may continue."""
    link, attempt, reuser = aliased(AttemptArtifactRow), aliased(AttemptRow), aliased(AttemptRow)
    is_result = and_(attempt.step == Step.PUBLISH.value, link.direction == Direction.OUTPUT.value)
    reused = exists().where(reuser.reused_attempt_id == attempt.id, _is_live(reuser, before)).correlate(attempt)
    of_artifact = exists().where(link.artifact_sha256 == ArtifactRow.sha256, attempt.id == link.attempt_id)
    return of_artifact.where(or_(is_result, _is_live(attempt, before), reused)).correlate(ArtifactRow)


def _is_live(attempt: type[AttemptRow], before: datetime) -> ColumnElement[bool]:
    """Whether an attempt ended since a time, or its item is open or needs a review."""
    sibling = aliased(AttemptRow)
    is_open = exists().where(WorkRow.item_id == attempt.item_id, IS_OPEN).correlate(attempt)
    needs_review = _needs_review(sibling).where(sibling.item_id == attempt.item_id).correlate(attempt)
    return or_(attempt.ended_at >= before, is_open, needs_review)


def _needs_review(attempt: type[AttemptRow]) -> Exists:
    """Whether an attempt is the last of its item and ended it as `needs_review`."""
    later = aliased(AttemptRow)
    is_last = ~exists().where(later.item_id == attempt.item_id, later.seq > attempt.seq).correlate(attempt)
    return exists().where(attempt.outcome == OutcomeKind.NEEDS_REVIEW.value, is_last)
