"""What is hashed, so that a changed, missing or added row is found.

Each item has a hash chain. It starts from the item's own hash. Each attempt's hash covers its columns, the digests
of the rows that belong to it, and the hash of the link before it. Retries and reviews are links of the same chain.
The events of a run are a chain of their own. Ids that the database assigns are not hashed; where a row refers to
another attempt, the hash covers that attempt's hash instead. Nulls are left out, so a column added by a later
migration leaves existing hashes valid. Names of tables are not hashed, names of columns are: `retry_hash` keeps
the former name of a renamed column.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from db.schema.column_types import escape_name, storable_json
from deepsound.canonical_json import Json, sha256_bytes, sha256_json

Row = Mapping[str, Any]
"""Values by column name, as the database returns them."""

ManifestLine = tuple[str, str | None, Mapping[str, Json], str]
"""Source, SHA-256 of the video or None, overrides, output name."""

_FILE_NAMES = ("source", "output_name")
_ROW_KEYS = {"attempt_artifact": ("direction", "role"), "attempt_model": ("model_sha256",)}


def document_sha256(body: str) -> str:
    """Returns the key of a document."""
    return sha256_bytes(body.encode())


def content_sha256(row: Row) -> str:
    """Returns the key of a row that is keyed by its content: a model, a code version, an environment."""
    return sha256_json(_content(row, "sha256"))


def settings_sha256(settings: Mapping[str, Json]) -> str:
    """Returns the hash of a run's settings."""
    return sha256_json(storable_json(settings))


def manifest_sha256(lines: Iterable[ManifestLine]) -> str:
    """Returns the hash of a run's manifest; the order of its lines counts."""
    return sha256_json(
        [
            (escape_name(source), video, storable_json(overrides), escape_name(output_name))
            for source, video, overrides, output_name in lines
        ]
    )


def item_hash(item: Row, run: Row, video: Row | None) -> str:
    """Returns the start of an item's chain: it covers the item, its video, the run's settings, manifest, code."""
    about_video = None if video is None else _content(video)
    return sha256_json({"run": _frozen(run), "item": _content(item, "id", "hash"), "video": about_video})


def run_hash(run: Row) -> str:
    """Returns the start of the chain of a run's events: it covers the run's name, settings, manifest and code."""
    created_at = _hashed_value("", run["created_at"])
    return sha256_json({"run": _frozen(run), "name": run["name"], "created_at": created_at})


def attempt_hash(attempt: Row, reused_hash: str | None) -> str:
    """Returns an attempt's link: it covers the columns, `digests` and `previous_hash` among them.

    `reused_hash` is the hash of the reused attempt, None for an attempt that reused none.
    """
    content = _content(attempt, "id", "item_id", "reused_attempt_id", "hash")
    return sha256_json(content if reused_hash is None else {**content, "reused": reused_hash})


def retry_hash(retry: Row) -> str:
    """Returns a retry's link: it covers the columns; `previous_hash` stands for the item.

    `recompute` is hashed under `anew`, its name in the first releases.
    """
    return sha256_json({**_content(retry, "item_id", "hash", "recompute"), "anew": retry["recompute"]})


def review_hash(review: Row, judged_hash: str | None) -> str:
    """Returns a review's link: it covers the columns and the judged attempt's hash."""
    return sha256_json({**_content(review, "id", "item_id", "attempt_id", "hash"), "judged": judged_hash})


def own_hash(row: Row) -> str:
    """Returns the hash of all columns of a row except its id: of a run event or an expiry."""
    return sha256_json(_content(row, "id", "hash"))


def seal_hash(seal: Row) -> str:
    """Returns the hash that a seal's signature signs, and by which the next seal refers to it."""
    return sha256_json(_content(seal, "id", "signature"))


def digests(
    owned: Mapping[str, Sequence[Row]], artifacts: Mapping[str, Row], hashes: Mapping[int, str]
) -> dict[str, str]:
    """Returns the digest of every row that belongs to an attempt, by the row's name, e.g. `thought 2`.

    `owned`: rows by table. `artifacts`: rows by SHA-256. `hashes`: of the attempts whose decisions effects name,
    by attempt id.
    """
    return {
        row_name(table, row): _digest(table, row, artifacts, hashes)
        for table, rows in owned.items()
        for row in rows
    }


def row_name(table: str, row: Row) -> str:
    """Returns the name of a row in its attempt's `digests` and in findings."""
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
        name: _hashed_value(name, value)
        for name, value in row.items()
        if value is not None and name not in left_out
    }


def _hashed_value(name: str, value: Any) -> Json:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return escape_name(value) if name in _FILE_NAMES else value
