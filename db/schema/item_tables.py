"""Tables of items: the item itself, retries and reviews in its hash chain, and the state of its steps."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, ForeignKey, Index, Integer, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.schema.column_types import ROW_ID, FileName, UtcDateTime
from db.schema.run_tables import RunRow
from db.schema.shared_tables import VideoRow
from db.schema.table_base import SHA256, Base

if TYPE_CHECKING:
    from db.schema.attempt_tables import AttemptRow

_OPEN = text("state IN ('pending', 'running')")


class ItemRow(Base):
    """One video in one run. `source` is as given; `video_sha256` is null where the file was unreadable.

    `hash` covers the row, its video and its run's settings and manifest. The item's hash chain starts from it.
    """

    __tablename__ = "item"
    __table_args__ = (UniqueConstraint("run_id", "ordinal"),)

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"))
    ordinal: Mapped[int] = mapped_column(Integer)
    source: Mapped[str] = mapped_column(FileName)
    output_name: Mapped[str] = mapped_column(FileName)
    overrides: Mapped[dict[str, Any]] = mapped_column(JSON)
    video_sha256: Mapped[str | None] = mapped_column(ForeignKey("video.sha256"), index=True)
    hash: Mapped[str] = mapped_column(SHA256)

    run: Mapped[RunRow] = relationship(lazy="raise", viewonly=True)
    video: Mapped[VideoRow | None] = relationship(lazy="raise", viewonly=True)
    attempts: Mapped[list["AttemptRow"]] = relationship(
        lazy="raise", viewonly=True, order_by="AttemptRow.seq", foreign_keys="AttemptRow.item_id"
    )
    retries: Mapped[list["RetryRow"]] = relationship(lazy="raise", viewonly=True, order_by="RetryRow.seq")
    reviews: Mapped[list["ReviewRow"]] = relationship(lazy="raise", viewonly=True, order_by="ReviewRow.seq")


class RetryRow(Base):
    """A step opened again. It supersedes the first current attempt of that step and every attempt after it.

    A link of the item's hash chain, between the attempt whose `seq` is `after` and the next one. `recompute`: the
    step is computed again; without it, an attempt with the same step key may be reused.
    """

    __tablename__ = "retry"

    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    after: Mapped[int] = mapped_column(Integer)
    step: Mapped[str] = mapped_column(Text)
    round: Mapped[int] = mapped_column(SmallInteger)
    recompute: Mapped[bool]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    by: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    previous_hash: Mapped[str] = mapped_column(SHA256)
    hash: Mapped[str] = mapped_column(SHA256)


class ReviewRow(Base):
    """A person's verdict on a judgement. The latest review of a judgement overrides the earlier ones.

    A link of the item's hash chain; the next link is the retry whose `previous_hash` is this row's `hash`.
    """

    __tablename__ = "review"
    __table_args__ = (UniqueConstraint("item_id", "seq"),)

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    seq: Mapped[int] = mapped_column(Integer)
    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"))
    reviewer: Mapped[str] = mapped_column(Text)
    verdict: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    previous_hash: Mapped[str] = mapped_column(SHA256)
    hash: Mapped[str] = mapped_column(SHA256)


class WorkRow(Base):
    """The state and the lease of one step of an item: the one mutable table, see `db.state.lease_queue`.

    It can be rebuilt from the other tables (`deepsound audit rebuild`), except for `deaths`: how many workers
    stopped responding while they held the step.
    """

    __tablename__ = "work"
    __table_args__ = (Index("ix_work_open", "item_id", postgresql_where=_OPEN, sqlite_where=_OPEN),)

    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), primary_key=True)
    step: Mapped[str] = mapped_column(Text, primary_key=True)
    round: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    lease_owner: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    deaths: Mapped[int] = mapped_column(Integer, server_default="0")
