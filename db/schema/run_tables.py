"""Tables of runs: their settings, events, seals and worker processes."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.schema.column_types import ROW_ID, UtcDateTime
from db.schema.shared_tables import CodeVersionRow
from db.schema.table_base import SHA256, Base


class RunRow(Base):
    """One job over a list of videos. Its settings and its manifest are frozen and hashed when it starts."""

    __tablename__ = "run"
    __table_args__ = (Index(None, "settings_sha256", "manifest_sha256"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    settings_sha256: Mapped[str] = mapped_column(SHA256)
    manifest_sha256: Mapped[str] = mapped_column(SHA256)
    code_version_sha256: Mapped[str] = mapped_column(ForeignKey("code_version.sha256"))

    code_version: Mapped[CodeVersionRow] = relationship(lazy="raise", viewonly=True)
    events: Mapped[list["RunEventRow"]] = relationship(lazy="raise", viewonly=True, order_by="RunEventRow.seq")


class RunEventRow(Base):
    """Something an operator or the engine did to a whole run. Events form a hash chain from the run's own hash.

    `by` is user@host; `details` of `submitted` are the submitted options, without secrets.
    """

    __tablename__ = "run_event"

    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    previous_hash: Mapped[str] = mapped_column(SHA256)
    hash: Mapped[str] = mapped_column(SHA256)


class SealRow(Base):
    """The signed Merkle root over the hash chains of a closed run; see `db.schema.seal_format`.

    `witness` lists what the root covers: the length and last hash of each chain, and the previous seal.
    """

    __tablename__ = "seal"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    items: Mapped[int] = mapped_column(Integer)
    merkle_root: Mapped[str] = mapped_column(SHA256)
    algorithm: Mapped[str] = mapped_column(Text)
    public_key: Mapped[str] = mapped_column(Text)
    signature: Mapped[str] = mapped_column(Text)
    witness: Mapped[str | None] = mapped_column(Text)


class WorkerSessionRow(Base):
    """One worker process that works on one run. Times are the database's; `seen_at` is its latest heartbeat."""

    __tablename__ = "worker_session"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), index=True)
    owner: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(Text)
    device: Mapped[str] = mapped_column(Text)
    flow_run_id: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
