"""Tables of content that attempts and runs share, and of its deletion.

The key of a row is the SHA-256 of its content, so each text, model, environment and file is stored once, and a
changed row no longer matches its key. Only `expiry` is keyed by a number.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.column_types import ROW_ID, UtcDateTime
from db.schema.table_base import NULLABLE_JSON, SHA256, Base


class DocumentRow(Base):
    """A text that attempts share, keyed by the SHA-256 of its UTF-8.

    Prompts and templates as they are; parameters and lists of shown frames as canonical JSON.
    """

    __tablename__ = "document"

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    body: Mapped[str] = mapped_column(Text)


class CodeVersionRow(Base):
    """The program: release, source revision, and whether its files differ from that revision."""

    __tablename__ = "code_version"

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    release: Mapped[str] = mapped_column(Text)
    revision: Mapped[str | None] = mapped_column(Text)
    is_modified: Mapped[bool]


class EnvironmentRow(Base):
    """What the program ran on: Python, platform, and the version of every installed package."""

    __tablename__ = "environment"

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    python: Mapped[str] = mapped_column(Text)
    platform: Mapped[str] = mapped_column(Text)
    packages: Mapped[dict[str, Any]] = mapped_column(JSON)


class ModelRow(Base):
    """A set of weights: name, revision, licence, and the SHA-256 of each file."""

    __tablename__ = "model"

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    revision: Mapped[str] = mapped_column(Text)
    licence: Mapped[str] = mapped_column(Text)
    files: Mapped[dict[str, Any]] = mapped_column(JSON)


class ArtifactRow(Base):
    """Immutable bytes in the artifact store, keyed by their SHA-256. `size` is in bytes."""

    __tablename__ = "artifact"

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(Text)


class VideoRow(Base):
    """A source file, keyed by the SHA-256 of its bytes. `probe` holds its media headers, null where unreadable."""

    __tablename__ = "video"

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(Text)
    probe: Mapped[dict[str, Any] | None] = mapped_column(NULLABLE_JSON)


class ExpiryRow(Base):
    """The deletion of an artifact's bytes from the store by retention. The artifact's own row stays."""

    __tablename__ = "expiry"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True)
    artifact_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"), index=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(SHA256)
