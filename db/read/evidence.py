"""What an auditor asks for: items by whatever is known of them, each with all its evidence."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Text, func, or_, select, type_coerce
from sqlalchemy.orm import Session, selectinload

from db.schema.column_types import escape_name
from db.schema.tables import Attempt, AttemptArtifact, AttemptModel, Decision, Effect, Item, Run

_OWNED = (
    selectinload(Attempt.thoughts),
    selectinload(Attempt.decisions),
    selectinload(Attempt.effects).selectinload(Effect.decision).selectinload(Decision.attempt),
    selectinload(Attempt.artifacts).selectinload(AttemptArtifact.artifact),
    selectinload(Attempt.models).selectinload(AttemptModel.model),
    selectinload(Attempt.parameters),
    selectinload(Attempt.template),
    selectinload(Attempt.prompt),
    selectinload(Attempt.frames),
    selectinload(Attempt.code_version),
    selectinload(Attempt.environment),
)
_EVIDENCE = (*_OWNED, selectinload(Attempt.reused).options(*_OWNED))
"""Loads with an attempt all that belongs to it, and the same of the attempt it reused."""


def find_items(session: Session, known: str) -> list[int]:
    """Items by item id, run id, SHA-256 of a video or an artifact, source as given, or its last part.

    Newest first. An artifact's items are those that read it, made it, or reused the attempt that made it.
    """
    # As names are stored, so that any of them can be asked for; no id or hash needs escaping.
    spelled, name = escape_name(known), type_coerce(Item.source, Text)
    ways = [
        Item.run_id == spelled,
        Item.video_sha256 == spelled,
        name == spelled,
        name.endswith("/" + spelled, autoescape=True),
        Item.id.in_(_items_touching(session, spelled)),
    ]
    if known.isascii() and known.isdigit() and int(known) < 2**63:
        ways.append(Item.id == int(known))
    return list(session.scalars(select(Item.id).where(or_(*ways)).order_by(Item.id.desc())))


def _items_touching(session: Session, artifact_sha256: str) -> Sequence[int]:
    touching = select(AttemptArtifact.attempt_id).where(AttemptArtifact.artifact_sha256 == artifact_sha256)
    either = or_(Attempt.id.in_(touching), Attempt.reused_attempt_id.in_(touching))
    return session.scalars(select(Attempt.item_id).where(either).distinct()).all()


@dataclass(frozen=True, slots=True)
class KeptArtifact:
    """An artifact of a run, and one of the attempts of it that read, made or reused it."""

    sha256: str
    item_id: int
    step: str
    role: str


def run_artifacts(session: Session, run_id: str) -> list[KeptArtifact]:
    """Every artifact that attempts of a run read, made or reused, each once."""
    maker = func.coalesce(Attempt.reused_attempt_id, Attempt.id)
    columns = (AttemptArtifact.artifact_sha256, Attempt.item_id, Attempt.step, AttemptArtifact.role)
    rows = (
        select(*columns)
        .join(Attempt, AttemptArtifact.attempt_id == maker)
        .join(Item, Attempt.item_id == Item.id)
        .where(Item.run_id == run_id)
        .order_by(Attempt.id.desc())
    )
    return list({row[0]: KeptArtifact(*row) for row in session.execute(rows).tuples()}.values())


def item_evidence(session: Session, item_ids: Sequence[int]) -> list[Item]:
    """Items with run, video, reviews, reopenings, and every attempt with all that is its own; in the order asked.

    The rows stay usable after the session. Unknown ids are left out. Raises ValueError where a row was made
    unreadable behind the ledger's back.
    """
    load = (
        select(Item)
        .where(Item.id.in_(item_ids))
        .options(
            selectinload(Item.run).selectinload(Run.code_version),
            selectinload(Item.video),
            selectinload(Item.reviews),
            selectinload(Item.reopenings),
            selectinload(Item.attempts).options(*_EVIDENCE),
        )
    )
    found = {item.id: item for item in session.scalars(load)}
    return [found[item_id] for item_id in item_ids if item_id in found]
