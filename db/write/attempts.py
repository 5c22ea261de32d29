"""Registers runs and records attempts. Each function is part of one transaction."""

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import bindparam, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.schema.column_types import Values, escape_name, in_utc, stored
from db.schema.hashing import attempt_hash, digests, item_hash
from db.schema.records import AttemptRecord, AttemptStatus, NewItem, NewRun, StepRef, WorkState
from db.schema.rows import RowsByTable, attempt_row, code_version_row, owned_rows, shared_rows
from db.schema.tables import (
    ArtifactRow,
    AttemptRow,
    Base,
    CodeVersionRow,
    ItemRow,
    RetryRow,
    RunRow,
    VideoRow,
    row_values,
    table_of,
)
from db.state.lease_queue import close, open_first_steps, open_step
from deepsound.errors import BadSettingsError, LeaseLostError

_CHUNK = 500
_MADE, _BACK = table_of(AttemptRow).c, table_of(RetryRow).c

# Every step of every video asks these, and making them costs more than asking them.
_PAST = select(_MADE.step, _MADE.round, _MADE.hash).where(_MADE.item_id == bindparam("item")).order_by(_MADE.seq)
_REOPENED = (
    select(_BACK.hash)
    .where(_BACK.item_id == bindparam("item"), _BACK.after == bindparam("attempts"))
    .order_by(_BACK.seq.desc())
    .limit(1)
)


def register_run(session: Session, new: NewRun) -> str:
    """Enter a run, its videos and items, and open every item's first step. Returns the run's id.

    Raises DeepSoundError(BAD_SETTINGS) where two items would write the same output.
    """
    _refuse_shared_outputs(new.items)
    code = code_version_row(new.code)
    _insert_new(session, CodeVersionRow, [code])
    run = stored(
        table_of(RunRow),
        {
            "id": _sortable_id(),
            "name": new.name,
            "created_at": datetime.now(UTC),
            "settings": new.settings,
            "settings_sha256": new.settings_sha256,
            "manifest_sha256": new.manifest_sha256,
            "code_version_sha256": code["sha256"],
        },
    )
    session.execute(insert(table_of(RunRow)), run)
    videos = _enter_videos(session, new.items)
    items = [_item_row(place, item, run, videos) for place, item in enumerate(new.items)]
    if items:
        session.execute(insert(table_of(ItemRow)), items)
    open_first_steps(session, run["id"])
    return run["id"]


def record_attempt(session: Session, record: AttemptRecord, owner: str) -> int:
    """Write an attempt that ended, with all that belongs to it, and move the item on. Returns its id.

    Only the holder of the step's lease may; asking again after an answer got lost returns the same id. Raises
    DeepSoundError(LEASE_LOST) where the step is no longer the caller's: its result is then somebody else's.
    """
    if not close(session, record.item_id, record.at, owner, _state_after(record)):
        return _written_before(session, record)
    for kind, rows in shared_rows(record).items():
        _insert_new(session, kind, rows)
    owned = owned_rows(record)
    attempt = attempt_row(record) | _place_in_chain(session, record) | {"digests": _digests(session, owned)}
    reused = record.reused_attempt_id
    attempt["hash"] = attempt_hash(attempt, None if reused is None else _hashes(session, [reused])[reused])
    attempt_id = session.scalars(insert(table_of(AttemptRow)).returning(AttemptRow.id), attempt).one()
    for kind, rows in owned.items():
        session.execute(insert(table_of(kind)), [{"attempt_id": attempt_id, **row} for row in rows])
    if isinstance(record.followed_by, StepRef) and record.followed_by != record.at:
        open_step(session, record.item_id, record.followed_by)
    return attempt_id


def _state_after(record: AttemptRecord) -> WorkState:
    if record.followed_by == record.at:
        return WorkState.PENDING
    return WorkState.FAILED if record.status is AttemptStatus.FAILED else WorkState.DONE


def _written_before(session: Session, record: AttemptRecord) -> int:
    same = select(AttemptRow.id).where(
        AttemptRow.item_id == record.item_id,
        AttemptRow.step == record.at.step.value,
        AttemptRow.round == record.at.round,
        AttemptRow.started_at == in_utc(record.started_at),
        AttemptRow.ended_at == in_utc(record.ended_at),
        AttemptRow.host == record.execution_context.host,
    )
    attempt_id = session.scalar(same)
    if attempt_id is None:
        raise LeaseLostError(
            f"step {record.at.step}, round {record.at.round}, is no longer held by this worker",
            where=f"item {record.item_id}",
            remedy="nothing to do: whoever holds it now goes on",
        )
    return attempt_id


def _place_in_chain(session: Session, record: AttemptRecord) -> Values:
    past = session.execute(_PAST, {"item": record.item_id}).all()
    tries = sum(step == record.at.step.value and number == record.at.round for step, number, _ in past)
    previous = session.scalar(_REOPENED, {"item": record.item_id, "attempts": len(past)})
    if previous is None:
        start = select(ItemRow.hash).where(ItemRow.id == record.item_id)
        previous = past[-1][2] if past else session.scalars(start).one()
    return {"seq": len(past) + 1, "number": tries + 1, "previous_hash": previous}


def _digests(session: Session, owned: RowsByTable) -> dict[str, str]:
    rows = {kind.__tablename__: of_kind for kind, of_kind in owned.items()}
    deciding = [effect["decision_attempt_id"] for effect in rows.get("effect", [])]
    hashes = _hashes(session, {attempt_id for attempt_id in deciding if attempt_id is not None})
    named = {link["artifact_sha256"] for link in rows.get("attempt_artifact", [])}
    # As they are kept, not as they were handed over: whoever enters an artifact first says its media type.
    kept = session.scalars(select(ArtifactRow).where(ArtifactRow.sha256.in_(named))) if named else ()
    return digests(rows, {artifact.sha256: row_values(artifact) for artifact in kept}, hashes)


def _hashes(session: Session, attempt_ids: Iterable[int]) -> dict[int, str]:
    wanted = sorted(attempt_ids)
    if not wanted:
        return {}
    found = session.execute(select(AttemptRow.id, AttemptRow.hash).where(AttemptRow.id.in_(wanted)))
    return {row.id: row.hash for row in found}


def _insert_new(session: Session, kind: type[Base], rows: Sequence[Values]) -> None:
    """Insert what is not there yet, in the order of the keys, so that two writers never wait for each other."""
    if not rows:
        return
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    unique = {row["sha256"]: row for row in rows}
    ordered = [unique[sha256] for sha256 in sorted(unique)]
    session.execute(dialect.insert(table_of(kind)).on_conflict_do_nothing(), ordered)


def _enter_videos(session: Session, items: Sequence[NewItem]) -> Mapping[str, Values]:
    files = {item.video.sha256: item.video for item in items if item.video is not None}
    columns = ("sha256", "size", "media_type", "probe")
    rows = [stored(table_of(VideoRow), {name: getattr(file, name) for name in columns}) for file in files.values()]
    _insert_new(session, VideoRow, rows)
    # As they are kept: an earlier run may have probed the same content with an earlier release.
    kept: dict[str, Values] = {}
    keys = list(files)
    for start in range(0, len(keys), _CHUNK):
        chunk = select(VideoRow).where(VideoRow.sha256.in_(keys[start : start + _CHUNK]))
        kept |= {video.sha256: row_values(video) for video in session.scalars(chunk)}
    return kept


def _item_row(ordinal: int, item: NewItem, run: Values, videos: Mapping[str, Values]) -> Values:
    video = None if item.video is None else videos[item.video.sha256]
    row = stored(
        table_of(ItemRow),
        {
            "run_id": run["id"],
            "ordinal": ordinal,
            "source": item.source,
            "output_name": item.output_name,
            "overrides": item.overrides,
            "video_sha256": None if video is None else video["sha256"],
        },
    )
    return {**row, "hash": item_hash(row, run, video)}


def _refuse_shared_outputs(items: Sequence[NewItem]) -> None:
    sources: dict[str, str] = {}
    for item in items:
        if item.output_name in sources:
            other = escape_name(sources[item.output_name])
            raise BadSettingsError(
                f"would be written over the results of {other}",
                where=escape_name(item.source),
                remedy="give one of them another output name",
            )
        sources[item.output_name] = item.source


def _sortable_id() -> str:
    """A UUID whose order is that of time (RFC 9562, version 7)."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    return str(UUID(int=value & ~(0b11 << 62) | 0b10 << 62))
