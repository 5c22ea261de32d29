"""What a store of immutable bytes offers: an artifact is known by its SHA-256 and never changes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Artifact:
    """Immutable bytes: SHA-256 (hex), size in bytes, media type."""

    sha256: str
    size: int
    media_type: str


class ArtifactStore(Protocol):
    """Bytes under their hash. Every method may raise DeepSoundError (STORE_*, ARTIFACT_*, DISK_FULL)."""

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        ...

    def put(self, source: Path, media_type: str) -> Artifact:
        """Keep the bytes of a file; nothing is visible under the hash until all of it is there.

        Bytes already kept are not sent again.
        """
        ...

    def has(self, sha256: str) -> bool:
        """Whether the bytes are there."""
        ...

    def local(self, sha256: str) -> AbstractContextManager[Path]:
        """The bytes as a read-only local file for the length of a `with` block, verified against the hash."""
        ...

    def is_intact(self, sha256: str) -> bool:
        """Whether the bytes lie there and have that hash, as read where they are kept and not from a copy."""
        ...

    def delete(self, sha256: str) -> bool:
        """Remove the bytes; False where they are not there."""
        ...

    def kept(self, older_than: timedelta) -> Iterator[str]:
        """Hashes of all that has been there for longer than that, whoever put it."""
        ...

    def sweep(self, older_than: timedelta) -> int:
        """Clear what writers that were killed more than `older_than` ago left unfinished; how many pieces."""
        ...
