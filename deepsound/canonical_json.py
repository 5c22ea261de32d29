"""Canonical JSON and SHA-256: equal values have equal bytes and equal hashes."""

import hashlib
import json
from pathlib import Path

Json = None | bool | int | float | str | list["Json"] | tuple["Json", ...] | dict[str, "Json"]

_BLOCK = 1 << 20


def canonical_json(value: Json) -> str:
    """`value` as JSON with sorted keys and without whitespace. Raises ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_json(value: Json) -> str:
    """Hex SHA-256 of the canonical JSON of `value`."""
    return sha256_bytes(canonical_json(value).encode())


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, which are read in blocks. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
