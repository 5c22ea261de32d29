"""Seals a run once nothing of it is open, with the key this process was given; without one, nothing is sealed."""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from db.read.evidence import all_seals
from db.schema.column_types import in_utc
from db.schema.seal_format import SEAL_COLUMNS
from db.write.seals import seal_run
from deepsound.canonical_json import canonical_json
from deepsound.errors import BadSettingsError, DeepSoundError
from tasks.runtime.worker import Worker

PRIVATE, PUBLIC = "DEEPSOUND_SEAL_KEY", "DEEPSOUND_SEAL_PUBLIC_KEY"

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


def seal_key() -> Ed25519PrivateKey | None:
    """What DEEPSOUND_SEAL_KEY names; None: unset. Raises DeepSoundError (BAD_SETTINGS)."""
    file = os.environ.get(PRIVATE)
    if not file:
        return None
    # Path.is_file raises for a place this process may not look into.
    if os.path.isfile(file) and Path(file).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):  # noqa: PTH113
        raise _refused(PRIVATE, f"others than its owner may use {file}", f"chmod 400 {file}")
    try:
        key = load_pem_private_key(_read(PRIVATE, file), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(PRIVATE, file) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(PRIVATE, file)
    return key


def trusted_keys() -> frozenset[str]:
    """The public keys (hex) of DEEPSOUND_SEAL_PUBLIC_KEY, a file of one or more, and of the key that seals here.

    Raises DeepSoundError (BAD_SETTINGS).
    """
    own = seal_key()
    keys = [] if own is None else [own.public_key()]
    if file := os.environ.get(PUBLIC):
        keys += _public_keys(file)
    return frozenset(key.public_bytes_raw().hex() for key in keys)


def seal_if_closed(worker: Worker, run_id: str) -> bool:
    """Seal a run that has no open steps, unless its last seal holds all of it. Returns whether it was sealed now.

    Raises DeepSoundError (LEDGER_*, BAD_SETTINGS: no such run, or a key that is none).
    """
    key = seal_key()
    if key is None:
        return False
    with worker.ledger.write() as session:
        return seal_run(session, run_id, key)


def seal_lines(worker: Worker) -> Iterator[str]:
    """Every seal of the ledger as a line of JSON, oldest first: to be kept where nobody can change both.

    Raises DeepSoundError (LEDGER_*).
    """
    with worker.ledger.read() as session:
        for row in all_seals(session):
            yield canonical_json({**row, "created_at": row["created_at"].isoformat(timespec="microseconds")})


def kept_seals(file: Path) -> list[Mapping[str, Any]]:
    """Seals as `seal_lines` wrote them. Raises DeepSoundError (BAD_SETTINGS)."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise _refused("--seals", f"cannot read {file} ({error.strerror})", "name another file") from error
    except UnicodeDecodeError as error:
        raise _refused("--seals", f"{file} is not UTF-8", "save it as UTF-8") from error
    if not lines:
        raise _refused("--seals", f"{file} holds no seal", "take what `deepsound audit seals` printed")
    return [_kept_seal(file, number, line) for number, line in enumerate(lines, 1)]


def _kept_seal(file: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
        if row.keys() != SEAL_COLUMNS or not all(isinstance(row[name], str) for name in SEAL_COLUMNS - {"items"}):
            raise ValueError("it says other things")
        return {**row, "created_at": in_utc(datetime.fromisoformat(row["created_at"]))}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        what, remedy = f"line {number} of {file} is no seal", "take what `deepsound audit seals` printed"
        raise _refused("--seals", what, remedy) from error


def _public_keys(file: str) -> Iterator[Ed25519PublicKey]:
    blocks = _PEM.findall(_read(PUBLIC, file))
    if not blocks:
        raise _no_key(PUBLIC, file)
    for block in blocks:
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _no_key(PUBLIC, file) from error
        if not isinstance(key, Ed25519PublicKey):
            raise _no_key(PUBLIC, file)
        yield key


def _read(variable: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise _refused(variable, f"cannot read {file} ({error.strerror})", "mend or unset it") from error


def _no_key(variable: str, file: str) -> DeepSoundError:
    return _refused(variable, f"{file} holds no Ed25519 key in PEM", 'see "Seal" in docs/guides/audit.md')


def _refused(variable: str, what: str, remedy: str) -> DeepSoundError:
    return BadSettingsError(what, where=variable, remedy=remedy)
