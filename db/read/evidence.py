"""Finds items by any of their identifiers, and loads the complete evidence on them, for audits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, func, or_, select, type_coerce
from sqlalchemy.orm import Session, selectinload

from db.schema.column_types import escape_name
from db.schema.seal_format import SEAL_COLUMNS
from db.schema.tables import (
    AttemptArtifactRow,
    AttemptModelRow,
    AttemptRow,
    DecisionRow,
    EffectRow,
    ItemRow,
    RunRow,
    SealRow,
    row_values,
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
"""Loads an attempt with all rows that belong to it, and the attempt it reused likewise."""


def find_items(session: Session, identifier: str) -> list[int]:
    """Returns the ids of items, newest first, that an identifier names.

    It is an item id, a run id, the SHA-256 of a video or an artifact, a source as given, or a source's last part.
    An artifact names the items that read it, made it, or reused the attempt that made it.
    """
    # Names are stored escaped; ids and hashes contain nothing to escape.
    escaped, source = escape_name(identifier), type_coerce(ItemRow.source, Text)
    matches = [
        ItemRow.run_id == escaped,
        ItemRow.video_sha256 == escaped,
        source == escaped,
        source.endswith("/" + escaped, autoescape=True),
        ItemRow.id.in_(_items_with_artifact(session, escaped)),
    ]
    if identifier.isascii() and identifier.isdigit() and int(identifier) < 2**63:
        matches.append(ItemRow.id == int(identifier))
    return list(session.scalars(select(ItemRow.id).where(or_(*matches)).order_by(ItemRow.id.desc())))


def _items_with_artifact(session: Session, artifact_sha256: str) -> Sequence[int]:
    linked = select(AttemptArtifactRow.attempt_id).where(AttemptArtifactRow.artifact_sha256 == artifact_sha256)
    either = or_(AttemptRow.id.in_(linked), AttemptRow.reused_attempt_id.in_(linked))
    return session.scalars(select(AttemptRow.item_id).where(either).distinct()).all()


@dataclass(frozen=True, slots=True)
class RunArtifact:
    """An artifact of a run, with the item and step of one attempt that read, made or reused it."""

    sha256: str
    item_id: int
    step: str
    role: str


def run_artifacts(session: Session, run_id: str) -> list[RunArtifact]:
    """Returns every artifact that attempts of a run read, made or reused, each once."""
    source_attempt = func.coalesce(AttemptRow.reused_attempt_id, AttemptRow.id)
    columns = (AttemptArtifactRow.artifact_sha256, AttemptRow.item_id, AttemptRow.step, AttemptArtifactRow.role)
    rows = (
        select(*columns)
        .join(AttemptRow, AttemptArtifactRow.attempt_id == source_attempt)
        .join(ItemRow, AttemptRow.item_id == ItemRow.id)
        .where(ItemRow.run_id == run_id)
        .order_by(AttemptRow.id.desc())
    )
    return list({row[0]: RunArtifact(*row) for row in session.execute(rows).tuples()}.values())


def item_evidence(session: Session, item_ids: Sequence[int]) -> list[ItemRow]:
    """Returns items with run, video, retries, reviews and attempts with all their rows, in the order of the ids.

    The rows stay usable after the session. Unknown ids are left out. Raises ValueError for a row that was
    manipulated so that it is unreadable.
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


def all_seals(session: Session) -> Iterator[Mapping[str, Any]]:
    """Yields every seal, oldest first, as its columns without the id. Holds one in memory at a time."""
    for seal in session.scalars(select(SealRow).order_by(SealRow.id)).yield_per(1):
        yield {name: value for name, value in row_values(seal).items() if name in SEAL_COLUMNS}
        session.expunge(seal)
