"""Registers runs and their items. Writes the tables `run` and `item`."""

import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.schema.column_types import Values, escape_name, stored
from db.schema.hashing import item_hash
from db.schema.rows import code_version_row
from db.schema.run_records import NewItem, NewRun
from db.schema.tables import CodeVersionRow, ItemRow, RunRow, VideoRow, row_values, table_of
from db.state.lease_queue import open_first_steps
from db.write.shared_rows import insert_shared
from deepsound.errors import BadSettingsError

_CHUNK = 500


def register_run(session: Session, new: NewRun) -> str:
    """Inserts a run, its videos and items, and opens the first step of every item. Returns the run's id.

    Raises BadSettingsError if two items have the same output name.
    """
    _refuse_shared_outputs(new.items)
    code = code_version_row(new.code)
    insert_shared(session, CodeVersionRow, [code])
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
    videos = _insert_videos(session, new.items)
    items = [_item_row(ordinal, item, run, videos) for ordinal, item in enumerate(new.items)]
    if items:
        session.execute(insert(table_of(ItemRow)), items)
    open_first_steps(session, run["id"])
    return run["id"]


def _insert_videos(session: Session, items: Sequence[NewItem]) -> Mapping[str, Values]:
    files = {item.video.sha256: item.video for item in items if item.video is not None}
    columns = ("sha256", "size", "media_type", "probe")
    rows = [stored(table_of(VideoRow), {name: getattr(file, name) for name in columns}) for file in files.values()]
    insert_shared(session, VideoRow, rows)
    # Read back, since an earlier run may have inserted the same video, probed by an earlier release.
    videos: dict[str, Values] = {}
    keys = list(files)
    for start in range(0, len(keys), _CHUNK):
        chunk = select(VideoRow).where(VideoRow.sha256.in_(keys[start : start + _CHUNK]))
        videos |= {video.sha256: row_values(video) for video in session.scalars(chunk)}
    return videos


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
                f"it would overwrite the results of {other}",
                where=escape_name(item.source),
                remedy="give one of them another output name",
            )
        sources[item.output_name] = item.source


def _sortable_id() -> str:
    """Returns a UUID that sorts by time (RFC 9562, version 7)."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    return str(UUID(int=value & ~(0b11 << 62) | 0b10 << 62))
