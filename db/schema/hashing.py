"""What is hashed, so that a changed, missing or added row shows.

Each item's attempts are a chain: the item's own hash, then each attempt's over its columns, the digests of the
rows that belong to it, and the hash before it. A reopening and a review are links of the same chain. What was
done to a run is a chain of its own. Numbers the database gives out stay outside; where a row refers to another
attempt, that attempt's hash stands for it. Nulls are left out, so a column added by a later migration leaves old
hashes as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from db.schema.column_types import escape_name, storable_json
from deepsound.canonical_json import Json, sha256_bytes, sha256_json

Row = Mapping[str, Any]
"""Values by column name, as the database gives them back."""

ManifestLine = tuple[str, str | None, Mapping[str, Json], str]
"""Source, SHA-256 of the video or None, overrides, output name."""

_FILE_NAMES = ("source", "output_name")
_ROW_KEYS = {"attempt_artifact": ("direction", "role"), "attempt_model": ("model_sha256",)}


def document_sha256(body: str) -> str:
    """The key of a document."""
    return sha256_bytes(body.encode())


def content_sha256(row: Row) -> str:
    """The key of a row that is known by what it holds: a model, a code version, an environment."""
    return sha256_json(_content(row, "sha256"))


def settings_sha256(settings: Mapping[str, Json]) -> str:
    """Hash of a run's settings."""
    return sha256_json(storable_json(settings))


def manifest_sha256(lines: Iterable[ManifestLine]) -> str:
    """Hash of a run's list, in order."""
    return sha256_json(
        [
            (escape_name(source), video, storable_json(overrides), escape_name(output_name))
            for source, video, overrides, output_name in lines
        ]
    )


def item_hash(item: Row, run: Row, video: Row | None) -> str:
    """Where an item's chain starts: the item, its run's settings, list and code, its video."""
    about_video = None if video is None else _content(video)
    return sha256_json({"run": _frozen(run), "item": _content(item, "id", "hash"), "video": about_video})


def run_hash(run: Row) -> str:
    """Where the chain of a run's events starts: its name, settings, list and code."""
    return sha256_json({"run": _frozen(run), "name": run["name"], "created_at": _spelled("", run["created_at"])})


def attempt_hash(attempt: Row, reused_hash: str | None) -> str:
    """The link of an attempt: its columns, `digests` and `previous_hash` among them."""
    content = _content(attempt, "id", "item_id", "reused_attempt_id", "hash")
    return sha256_json(content if reused_hash is None else {**content, "reused": reused_hash})


def retry_hash(retry: Row) -> str:
    """The link of a retry: its columns, `previous_hash` among them, which stands for the item.

    `recompute` is hashed under its name in the first releases, `anew`.
    """
    return sha256_json({**_content(retry, "item_id", "hash", "recompute"), "anew": retry["recompute"]})


def review_hash(review: Row, judged_hash: str | None) -> str:
    """The link of a review: its columns, `previous_hash` among them, and the judged attempt's hash."""
    return sha256_json({**_content(review, "id", "item_id", "attempt_id", "hash"), "judged": judged_hash})


def own_hash(row: Row) -> str:
    """Hash of all a row holds but its number: an event of a run, an expiry."""
    return sha256_json(_content(row, "id", "hash"))


def seal_hash(seal: Row) -> str:
    """Hash of all a seal says: what its signature is of, and how the next seal names it."""
    return sha256_json(_content(seal, "id", "signature"))


def digests(
    owned: Mapping[str, Sequence[Row]], artifacts: Mapping[str, Row], hashes: Mapping[int, str]
) -> dict[str, str]:
    """Digest of every row that belongs to an attempt, by the row's name, e.g. `thought 2`.

    `owned`: rows by table. `artifacts`: rows by SHA-256. `hashes`: of the attempts whose decisions are named.
    """
    return {
        row_name(table, row): _digest(table, row, artifacts, hashes)
        for table, rows in owned.items()
        for row in rows
    }


def row_name(table: str, row: Row) -> str:
    """How a row is named in its attempt's `digests` and in findings."""
    return " ".join([table, *(str(row[key]) for key in _ROW_KEYS.get(table, ("position",)))])


def _digest(table: str, row: Row, artifacts: Mapping[str, Row], hashes: Mapping[int, str]) -> str:
    content = _content(row, "attempt_id", "decision_attempt_id")
    if table == "effect" and row["decision_attempt_id"] is not None:
        content["decided_by"] = hashes.get(row["decision_attempt_id"])
    if table == "attempt_artifact":
        content |= _content(artifacts.get(row["artifact_sha256"], {}), "sha256")
    return sha256_json(content)


def _frozen(run: Row) -> dict[str, Json]:
    return _content(run, "settings", "name", "created_at")


def _content(row: Row, *left_out: str) -> dict[str, Json]:
    return {
        name: _spelled(name, value) for name, value in row.items() if value is not None and name not in left_out
    }


def _spelled(name: str, value: Any) -> Json:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return escape_name(value) if name in _FILE_NAMES else value
