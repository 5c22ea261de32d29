"""Column types and conversions that make a value read back equal the value that was hashed.

PostgreSQL stores neither NUL characters nor lone surrogates in text, and neither does UTF-8 JSON; SQLite has no
time zones. Every value is converted here before it is hashed and stored.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Float, Integer, Table, Text
from sqlalchemy.types import TypeDecorator

from deepsound.canonical_json import Json

Values = dict[str, Any]
"""Column name to value, one row."""

ROW_ID = BigInteger().with_variant(Integer, "sqlite")
"""64 bits on both databases. SQLite assigns numbers only to a column declared INTEGER."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SPECIAL_IN_NAME = re.compile("[\\\\\x00\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))")


class UtcDateTime(TypeDecorator[datetime]):
    """A time stored in UTC to the microsecond. Raises ValueError for a time without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Converts to UTC, without a zone for SQLite, whose text has none."""
        if value is None:
            return None
        moment = in_utc(value)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Returns an aware time in UTC, whatever time zone the server uses."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class FileName(TypeDecorator[str]):
    """A file name or URL, with any bytes a file system allows; see `escape_name`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        """Escapes the name for the database."""
        return None if value is None else escape_name(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        """Unescapes the name, so that it opens the same file."""
        return None if value is None else unescape_name(value)


def escape_name(name: str) -> str:
    r"""Returns a file name as valid text, reversibly: an undecodable byte as `\xff`, a backslash as `\\`.

    Python represents undecodable bytes as surrogates (PEP 383); any other lone surrogate becomes `\ud800`.
    """
    return _SPECIAL_IN_NAME.sub(_escaped, name)


def unescape_name(text: str) -> str:
    """Reverses `escape_name`."""
    return _ESCAPE.sub(_unescaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    if match.group() == "\\":
        return "\\\\"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}"


def _unescaped(match: re.Match[str]) -> str:
    byte, unit = match.groups()
    if byte is not None:
        return chr(0xDC00 + int(byte, 16))
    return "\\" if unit is None else chr(int(unit, 16))


def storable(text: str) -> str:
    """Replaces each NUL and each lone surrogate by one U+FFFD, so that spans into the text stay valid."""
    return _UNSTORABLE.sub("\ufffd", text)


def storable_json(value: Json | Mapping[str, Json]) -> Json:
    """Returns a JSON value as it will be read back: all text storable, tuples as lists."""
    match value:
        case str():
            return storable(str(value))
        case Mapping():
            return {storable(name): storable_json(part) for name, part in value.items()}
        case list() | tuple():
            return [storable_json(part) for part in value]
        case _:
            return value


def in_utc(moment: datetime) -> datetime:
    """Converts a time to UTC. Raises ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment.astimezone(UTC)


def finite(number: float) -> float | None:
    """Returns the number, or None for NaN and infinity, such as the level of digital silence."""
    return float(number) if math.isfinite(number) else None


def stored(table: Table, values: Mapping[str, Any]) -> Values:
    """Returns a row as the database will return it, so that its hash is the same before and after storing."""
    return {name: _stored(table.columns[name].type, value) for name, value in values.items()}


def _stored(kind: object, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, UtcDateTime):
        return in_utc(value)
    if isinstance(kind, JSON):
        return storable_json(value)
    if isinstance(kind, Float):
        return finite(value)
    if isinstance(value, str) and not isinstance(kind, FileName):
        # A StrEnum member is hashed and stored as plain text.
        return storable(str(value))
    return value
