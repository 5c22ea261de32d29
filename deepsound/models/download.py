"""A file from a web server into a folder: gone on with where it stopped, under its own name only once it is whole.

What was fetched so far lies beside it as a hidden `.part` file, which outlives a cut connection and a kill.
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import httpx2

from deepsound.canonical_json import sha256_bytes, sha256_file
from deepsound.errors import (
    DeepSoundError,
    ModelFailedError,
    ModelMissingError,
    OutputNotWritableError,
    from_os_error,
)

OnBytes = Callable[[int, int | None], None]
"""Told the bytes that are here, and of how many, None while nobody says."""

_PATIENCE = httpx2.Timeout(30.0, connect=10.0)  # seconds
_TRIES = 5  # in a row that bring nothing
_FIRST_WAIT = 0.25  # seconds; doubles with every try that brings nothing
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_OK, _PARTIAL, _BEYOND_ITS_END = 200, 206, 416


@dataclass(frozen=True, slots=True)
class Download:
    """What is fetched: its address, headers to ask with, and what is known of its bytes.

    `version` tells releases of it apart (a SHA-256, an ETag): only a beginning of the same one is gone on with.
    """

    url: str
    version: str
    size: int | None = None
    sha256: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def download(wanted: Download, path: Path, on_bytes: OnBytes) -> None:
    """Fetch a file to `path`, replacing what is there only by something whole.

    Raises DeepSoundError: MODEL_MISSING if it can't be had, MODEL_FAILED if the bytes are not those wanted,
    DISK_FULL, OUTPUT_NOT_WRITABLE.
    """
    part = path.with_name(f".{path.name}.{sha256_bytes(wanted.version.encode())[:12]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _lock(file, part, path)
            _check_room(wanted, file, path)
            with httpx2.Client(timeout=_PATIENCE, follow_redirects=True) as client:
                _fill(client, wanted, file, path, on_bytes)
            file.flush()
            os.fsync(file.fileno())
            _check_bytes(wanted, part, path)
            part.replace(path)
    except OSError as error:
        remedy = "make the folder writable, or set DEEPSOUND_MODELS to another one, and run again"
        raise from_os_error(
            error, OutputNotWritableError, "can't be written", where=str(path), remedy=remedy
        ) from error


def _lock(file: BinaryIO, part: Path, path: Path) -> None:
    """One process fetches a file. It may have been finished between opening and locking it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat())
    except BlockingIOError:
        held = False
    if not held:
        what, remedy = "another process is fetching it", "run again when that one has ended"
        raise ModelMissingError(what, where=str(path), remedy=remedy)


def _check_room(wanted: Download, file: BinaryIO, path: Path) -> None:
    lacking = 0 if wanted.size is None else wanted.size - file.tell()
    if lacking > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, f"{lacking / 1e9:.1f} GB more are needed")


def _fill(client: httpx2.Client, wanted: Download, file: BinaryIO, path: Path, on_bytes: OnBytes) -> None:
    """Ask for what is missing until nothing is, as long as something comes."""
    begun = furthest = file.tell()
    fruitless = 0
    while True:
        try:
            trouble = _ask(client, wanted, file, path, on_bytes)
        except httpx2.RequestError as error:
            if file.tell() == begun and isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                raise unreachable(path, wanted.url, error) from error
            trouble = str(error) or type(error).__name__
        if trouble is None:
            return
        fruitless = 0 if file.tell() > furthest else fruitless + 1
        furthest = max(furthest, file.tell())
        if fruitless == _TRIES:
            what = f"{_host(wanted.url)} stopped after {file.tell()} bytes ({trouble})"
            remedy = "run again later to go on from there"
            raise ModelMissingError(what, where=str(path), remedy=remedy)
        time.sleep(_FIRST_WAIT * 2**fruitless)


def _ask(client: httpx2.Client, wanted: Download, file: BinaryIO, path: Path, on_bytes: OnBytes) -> str | None:
    """One request for what is missing: None when the file is complete, else what was in the way."""
    have = file.tell()
    if have == wanted.size:
        return None
    # Sizes and ranges count bytes as stored, so nothing may be compressed on the way.
    headers = {**wanted.headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", wanted.url, headers=headers) as answer:
        if answer.status_code in _PASSING:
            return f"HTTP {answer.status_code}"
        if answer.status_code == _BEYOND_ITS_END:
            _start_over(file)
            return "another length than before"
        if answer.status_code not in (_OK, _PARTIAL):
            raise refused(path, wanted.url, answer.status_code)
        if answer.status_code == _OK or not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            # The server knows no ranges, or sends another one than it was asked for.
            _start_over(file)
            if answer.status_code == _PARTIAL:
                return "other bytes than were asked for"
        total = _total(wanted, answer, path)
        # Blocks as they come: gathering larger ones would lose the last when the connection is cut.
        for block in answer.iter_bytes():
            file.write(block)
            if total is not None and file.tell() > total:
                break
            on_bytes(file.tell(), total)
    return None if total is None or file.tell() >= total else f"{file.tell()} of {total} bytes came"


def _start_over(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _total(wanted: Download, answer: httpx2.Response, path: Path) -> int | None:
    """How long the file is; MODEL_FAILED if the server says otherwise than is known of it."""
    told = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get("Content-Length", "")
    total = int(told) if told.isdigit() else wanted.size
    if wanted.size not in (None, total):
        raise _not_official(wanted, path, f"{total} bytes are offered, where the official file has {wanted.size}")
    return total


def _check_bytes(wanted: Download, part: Path, path: Path) -> None:
    size = part.stat().st_size
    if wanted.size not in (None, size):
        what = f"{size} bytes came, where the official file has {wanted.size}"
    elif wanted.sha256 not in (None, sha256_file(part)):
        what = "the bytes that came are not those of the official file"
    else:
        return
    part.unlink()
    raise _not_official(wanted, path, what)


def _not_official(wanted: Download, path: Path, what: str) -> DeepSoundError:
    remedy = f"run again to fetch it anew, or put the official file there, from {wanted.url}"
    return ModelFailedError(what, where=str(path), remedy=remedy)


def unreachable(path: Path, url: str, error: Exception) -> DeepSoundError:
    """The one line for a machine without a way to the publisher."""
    lines = str(error).splitlines() or [type(error).__name__]
    what, remedy = f"{_host(url)} can't be reached ({lines[0]})", f"put it there yourself, from {url}"
    return ModelMissingError(what, where=str(path), remedy=remedy)


def refused(path: Path, url: str, status: int) -> DeepSoundError:
    """The one line for a publisher that does not hand the file out."""
    remedy = f"put the official file there yourself, from {url}"
    if status in (401, 403):
        remedy = f"accept its terms at the publisher and set HF_TOKEN, or {remedy}"
    what = f"{_host(url)} does not hand it out (HTTP {status})"
    return ModelMissingError(what, where=str(path), remedy=remedy)


def _host(url: str) -> str:
    return httpx2.URL(url).host
