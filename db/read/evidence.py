"""What an auditor asks for: items by whatever is known of them, each with all its evidence."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Text, func, or_, select, type_coerce
from sqlalchemy.orm import Session, selectinload

from db.schema.column_types import escape_name
from db.schema.tables import (
    AttemptArtifactRow,
    AttemptModelRow,
    AttemptRow,
    DecisionRow,
    EffectRow,
    ItemRow,
    RunRow,
)

_OWNED = (
    selectinload(AttemptRow.thoughts),
    selectinload(AttemptRow.decisions),
    selectinload(AttemptRow.effects).selectinload(EffectRow.decision).selectinload(DecisionRow.attempt),
    selectinload(AttemptRow.artifacts).selectinload(AttemptArtifactRow.artifact),
    selectinload(AttemptRow.models).selectinload(AttemptModelRow.model),
    selectinload(AttemptRow.parameters),
    selectinload(AttemptRow.template),
    selectinload(AttemptRow.prompt),
    selectinload(AttemptRow.frames),
    selectinload(AttemptRow.code_version),
    selectinload(AttemptRow.environment),
)
_EVIDENCE = (*_OWNED, selectinload(AttemptRow.reused).options(*_OWNED))
"""Loads with an attempt all that belongs to it, and the same of the attempt it reused."""


def find_items(session: Session, known: str) -> list[int]:
    """Items by item id, run id, SHA-256 of a video or an artifact, source as given, or its last part.

    Newest first. An artifact's items are those that read it, made it, or reused the attempt that made it.
    """
    # As names are stored, so that any of them can be asked for; no id or hash needs escaping.
    spelled, name = escape_name(known), type_coerce(ItemRow.source, Text)
    ways = [
        ItemRow.run_id == spelled,
        ItemRow.video_sha256 == spelled,
        name == spelled,
        name.endswith("/" + spelled, autoescape=True),
        ItemRow.id.in_(_items_touching(session, spelled)),
    ]
    if known.isascii() and known.isdigit() and int(known) < 2**63:
        ways.append(ItemRow.id == int(known))
    return list(session.scalars(select(ItemRow.id).where(or_(*ways)).order_by(ItemRow.id.desc())))


def _items_touching(session: Session, artifact_sha256: str) -> Sequence[int]:
    touching = select(AttemptArtifactRow.attempt_id).where(AttemptArtifactRow.artifact_sha256 == artifact_sha256)
    either = or_(AttemptRow.id.in_(touching), AttemptRow.reused_attempt_id.in_(touching))
    return session.scalars(select(AttemptRow.item_id).where(either).distinct()).all()


@dataclass(frozen=True, slots=True)
class RunArtifact:
    """An artifact of a run, and one of the attempts of it that read, made or reused it."""

    sha256: str
    item_id: int
    step: str
    role: str


def run_artifacts(session: Session, run_id: str) -> list[RunArtifact]:
    """Every artifact that attempts of a run read, made or reused, each once."""
    maker = func.coalesce(AttemptRow.reused_attempt_id, AttemptRow.id)
    columns = (AttemptArtifactRow.artifact_sha256, AttemptRow.item_id, AttemptRow.step, AttemptArtifactRow.role)
    rows = (
        select(*columns)
        .join(AttemptRow, AttemptArtifactRow.attempt_id == maker)
        .join(ItemRow, AttemptRow.item_id == ItemRow.id)
        .where(ItemRow.run_id == run_id)
        .order_by(AttemptRow.id.desc())
    )
    return list({row[0]: RunArtifact(*row) for row in session.execute(rows).tuples()}.values())


def item_evidence(session: Session, item_ids: Sequence[int]) -> list[ItemRow]:
    """Items with run, video, reviews, reopenings, and every attempt with all that is its own; in the order asked.

    The rows stay usable after the session. Unknown ids are left out. Raises ValueError where a row was made
    unreadable behind the ledger's back.
    """
    load = (
        select(ItemRow)
        .where(ItemRow.id.in_(item_ids))
        .options(
            selectinload(ItemRow.run).selectinload(RunRow.code_version),
            selectinload(ItemRow.video),
            selectinload(ItemRow.reviews),
            selectinload(ItemRow.retries),
            selectinload(ItemRow.attempts).options(*_EVIDENCE),
        )
    )
    found = {item.id: item for item in session.scalars(load)}
    return [found[item_id] for item_id in item_ids if item_id in found]
