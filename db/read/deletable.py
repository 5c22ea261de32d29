"""Which bytes nobody needs any more: intermediates of items that ended long ago. Results are never among them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Exists, and_, exists, or_, select
from sqlalchemy.orm import Session, aliased

from db.schema.records import Direction
from db.schema.tables import ArtifactRow, AttemptArtifactRow, AttemptRow, ExpiryRow, ItemRow, VideoRow, WorkRow
from db.state.lease_queue import IS_OPEN
from db.write.expiry import last_used
from deepsound.pipeline import OutcomeKind, Step


def deletable_artifacts(session: Session, before: datetime, limit: int) -> list[str]:
    """SHA-256 of artifacts that were made before a time, that no result consists of, and that no item needs which
    is open, waits for a person, or ended since; not those whose bytes are gone already. At most `limit`.
    """
    gone = exists().where(ExpiryRow.artifact_sha256 == ArtifactRow.sha256, ExpiryRow.at >= last_used())
    spare = select(ArtifactRow.sha256).where(last_used() < before, ~_is_needed(before), ~gone)
    return list(session.scalars(spare.order_by(ArtifactRow.sha256).limit(limit)))


def recently_expired(session: Session, before: datetime, number: int) -> Sequence[str]:
    """What was written down as deleted last and is not needed again: its writer may have been killed before it
    deleted it.
    """
    spare = select(ExpiryRow.artifact_sha256).join(ArtifactRow, ArtifactRow.sha256 == ExpiryRow.artifact_sha256)
    spare = spare.where(ExpiryRow.at >= last_used(), ~_is_needed(before))
    return session.scalars(spare.order_by(ExpiryRow.id.desc()).limit(number)).all()


def deletable_sources(session: Session, before: datetime, limit: int, after: str = "") -> list[str]:
    """SHA-256 of videos whose items have all ended before a time, in order, from the one behind `after` on.

    Their bytes in the store are copies of files that their owner has.
    """
    attempt = aliased(AttemptRow)
    ended_since = exists().where(attempt.item_id == ItemRow.id, attempt.ended_at >= before)
    is_open = exists().where(WorkRow.item_id == ItemRow.id, IS_OPEN)
    waits = _waits(attempt).where(attempt.item_id == ItemRow.id)
    needed = (
        exists()
        .where(ItemRow.video_sha256 == VideoRow.sha256, or_(ended_since, is_open, waits))
        .correlate(VideoRow)
    )
    known = exists().where(ArtifactRow.sha256 == VideoRow.sha256)
    asked = select(VideoRow.sha256).where(VideoRow.sha256 > after, ~needed, ~known).order_by(VideoRow.sha256)
    return list(session.scalars(asked.limit(limit)))


def unreferenced(session: Session, hashes: Sequence[str]) -> set[str]:
    """Those of some hashes by which no row knows an artifact or a video."""
    artifacts = session.scalars(select(ArtifactRow.sha256).where(ArtifactRow.sha256.in_(hashes)))
    videos = session.scalars(select(VideoRow.sha256).where(VideoRow.sha256.in_(hashes)))
    return {*hashes} - {*artifacts} - {*videos}


def _is_needed(before: datetime) -> ColumnElement[bool]:
    """Whether an artifact is part of a result, or of what an item was made from that may go on."""
    link, attempt, reuser = aliased(AttemptArtifactRow), aliased(AttemptRow), aliased(AttemptRow)
    is_result = and_(attempt.step == Step.PUBLISH.value, link.direction == Direction.OUTPUT.value)
    reused = exists().where(reuser.reused_attempt_id == attempt.id, _is_live(reuser, before)).correlate(attempt)
    of_artifact = exists().where(link.artifact_sha256 == ArtifactRow.sha256, attempt.id == link.attempt_id)
    return of_artifact.where(or_(is_result, _is_live(attempt, before), reused)).correlate(ArtifactRow)


def _is_live(attempt: type[AttemptRow], before: datetime) -> ColumnElement[bool]:
    """Whether an attempt ended since a time, or its item is open or waits for a person."""
    sibling = aliased(AttemptRow)
    is_open = exists().where(WorkRow.item_id == attempt.item_id, IS_OPEN).correlate(attempt)
    waits = _waits(sibling).where(sibling.item_id == attempt.item_id).correlate(attempt)
    return or_(attempt.ended_at >= before, is_open, waits)


def _waits(attempt: type[AttemptRow]) -> Exists:
    """Whether an attempt, the last of its item, leaves it to a person; what was reviewed is open or goes on."""
    later = aliased(AttemptRow)
    is_last = ~exists().where(later.item_id == attempt.item_id, later.seq > attempt.seq).correlate(attempt)
    return exists().where(attempt.outcome == OutcomeKind.NEEDS_REVIEW.value, is_last)
