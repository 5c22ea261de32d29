"""The tables of the ledger; docs/reference/ledger.md explains them to auditors.

All are append-only but `work`, and the heartbeat of `worker_session`.

Rows that many attempts share (documents, models, code versions, environments, artifacts, videos) are known by
the SHA-256 of what they hold, so each is stored once and a changed one gives itself away.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from db.schema.column_types import ROW_ID, FileName, UtcDateTime, Values

_SHA256 = String(64)
_NULLABLE_JSON = JSON(none_as_null=True)
_OPEN = text("state IN ('pending', 'running')")
_DONE = text("status = 'done'")
_FAILED = text("status = 'failed'")
_ASKED = text("prompt_sha256 IS NOT NULL")
_REUSED = text("reused_attempt_id IS NOT NULL")


class Base(DeclarativeBase):
    """Names every constraint the same way on both databases, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def table_of(row: type[Base]) -> Table:
    """The table behind a row class."""
    return Base.metadata.tables[row.__tablename__]


def row_values(row: Base) -> Values:
    """A loaded row as values by column name."""
    return {name: getattr(row, name) for name in table_of(type(row)).columns.keys()}  # noqa: SIM118 - no dict


class DocumentRow(Base):
    """A text that attempts share, known by the SHA-256 of its UTF-8.

    Prompts and their templates as they are; parameters and lists of shown frames as canonical JSON.
    """

    __tablename__ = "document"

    sha256: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    body: Mapped[str] = mapped_column(Text)


class CodeVersionRow(Base):
    """The program that ran: release, source revision, whether it was changed since that revision."""

    __tablename__ = "code_version"

    sha256: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    release: Mapped[str] = mapped_column(Text)
    revision: Mapped[str | None] = mapped_column(Text)
    is_modified: Mapped[bool]


class EnvironmentRow(Base):
    """What the program ran on: Python, platform, and the version of every installed package."""

    __tablename__ = "environment"

    sha256: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    python: Mapped[str] = mapped_column(Text)
    platform: Mapped[str] = mapped_column(Text)
    packages: Mapped[dict[str, Any]] = mapped_column(JSON)


class ModelRow(Base):
    """A set of weights: name, revision, licence, SHA-256 of each file."""

    __tablename__ = "model"

    sha256: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    revision: Mapped[str] = mapped_column(Text)
    licence: Mapped[str] = mapped_column(Text)
    files: Mapped[dict[str, Any]] = mapped_column(JSON)


class ArtifactRow(Base):
    """Immutable bytes in the artifact store, known by their SHA-256. `size` is in bytes."""

    __tablename__ = "artifact"

    sha256: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(Text)


class VideoRow(Base):
    """A source file, known by the SHA-256 of its content. `probe` is what its headers said; null: unreadable."""

    __tablename__ = "video"

    sha256: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(Text)
    probe: Mapped[dict[str, Any] | None] = mapped_column(_NULLABLE_JSON)


class RunRow(Base):
    """One job over a list of videos; settings and list are frozen when it starts, and hashed."""

    __tablename__ = "run"
    __table_args__ = (Index(None, "settings_sha256", "manifest_sha256"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    settings_sha256: Mapped[str] = mapped_column(_SHA256)
    manifest_sha256: Mapped[str] = mapped_column(_SHA256)
    code_version_sha256: Mapped[str] = mapped_column(ForeignKey("code_version.sha256"))

    code_version: Mapped[CodeVersionRow] = relationship(lazy="raise", viewonly=True)
    events: Mapped[list["RunEventRow"]] = relationship(lazy="raise", viewonly=True, order_by="RunEventRow.seq")


class RunEventRow(Base):
    """Something an operator or the engine did to a run as a whole. Chained, starting from the run's own hash.

    `by` is user@host; `details` of `submitted` are what was asked, without secrets.
    """

    __tablename__ = "run_event"

    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    previous_hash: Mapped[str] = mapped_column(_SHA256)
    hash: Mapped[str] = mapped_column(_SHA256)


class ItemRow(Base):
    """One video in one run. `source` is as it was given; `video_sha256` is null where it could not be read.

    `hash` covers the row, its video and its run's settings and list, and is what the item's chain starts from.
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
    hash: Mapped[str] = mapped_column(_SHA256)

    run: Mapped[RunRow] = relationship(lazy="raise", viewonly=True)
    video: Mapped[VideoRow | None] = relationship(lazy="raise", viewonly=True)
    attempts: Mapped[list["AttemptRow"]] = relationship(
        lazy="raise", viewonly=True, order_by="AttemptRow.seq", foreign_keys="AttemptRow.item_id"
    )
    retries: Mapped[list["RetryRow"]] = relationship(lazy="raise", viewonly=True, order_by="RetryRow.seq")
    reviews: Mapped[list["ReviewRow"]] = relationship(lazy="raise", viewonly=True, order_by="ReviewRow.seq")


class AttemptRow(Base):
    """One execution of a step, written when it ended. Rows of one item form a hash chain in order of `seq`;
    a retry is the link after attempt number `after`.

    `number` counts tries of the same step and round. What follows is either `next_step` with `next_round`, or
    `outcome`, which ends the item. A reused attempt has no words, effects or outputs of its own: they are
    those of `reused_attempt_id`. `digests` holds, table by table, the digests of the rows that belong to it.
    """

    __tablename__ = "attempt"
    __table_args__ = (
        UniqueConstraint("item_id", "seq"),
        Index("ix_attempt_step_key", "step_key", postgresql_where=_DONE, sqlite_where=_DONE),
        Index("ix_attempt_error_code", "error_code", postgresql_where=_FAILED, sqlite_where=_FAILED),
        Index(
            "ix_attempt_prompt_sha256",
            "prompt_sha256",
            "started_at",
            postgresql_where=_ASKED,
            sqlite_where=_ASKED,
        ),
        Index(
            "ix_attempt_reused_attempt_id",
            "reused_attempt_id",
            postgresql_where=_REUSED,
            sqlite_where=_REUSED,
        ),
    )

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    seq: Mapped[int] = mapped_column(Integer)
    step: Mapped[str] = mapped_column(Text)
    round: Mapped[int] = mapped_column(SmallInteger)
    number: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(Text)
    reused_attempt_id: Mapped[int | None] = mapped_column(ForeignKey("attempt.id"))
    next_step: Mapped[str | None] = mapped_column(Text)
    next_round: Mapped[int | None] = mapped_column(SmallInteger)
    outcome: Mapped[str | None] = mapped_column(Text)
    step_key: Mapped[str | None] = mapped_column(_SHA256)
    step_version: Mapped[str] = mapped_column(Text)
    backend: Mapped[str] = mapped_column(Text)
    parameters_sha256: Mapped[str | None] = mapped_column(ForeignKey("document.sha256"))
    seed: Mapped[int | None] = mapped_column(BigInteger)
    template_sha256: Mapped[str | None] = mapped_column(ForeignKey("document.sha256"))
    prompt_sha256: Mapped[str | None] = mapped_column(ForeignKey("document.sha256"))
    frames_sha256: Mapped[str | None] = mapped_column(ForeignKey("document.sha256"))
    raw_output: Mapped[str | None] = mapped_column(Text)
    parser_version: Mapped[str | None] = mapped_column(Text)
    result: Mapped[dict[str, Any] | None] = mapped_column(_NULLABLE_JSON)
    probability: Mapped[float | None] = mapped_column(Float(53))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime] = mapped_column(UtcDateTime)
    host: Mapped[str] = mapped_column(Text)
    device: Mapped[str] = mapped_column(Text)
    code_version_sha256: Mapped[str] = mapped_column(ForeignKey("code_version.sha256"))
    environment_sha256: Mapped[str] = mapped_column(ForeignKey("environment.sha256"))
    prefect_flow_run_id: Mapped[str | None] = mapped_column(Text)
    prefect_task_run_id: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)
    is_retryable: Mapped[bool | None]
    digests: Mapped[dict[str, Any]] = mapped_column(JSON)
    previous_hash: Mapped[str] = mapped_column(_SHA256)
    hash: Mapped[str] = mapped_column(_SHA256)

    thoughts: Mapped[list["ThoughtRow"]] = relationship(
        lazy="raise", viewonly=True, order_by="ThoughtRow.position"
    )
    decisions: Mapped[list["DecisionRow"]] = relationship(
        lazy="raise", viewonly=True, order_by="DecisionRow.position"
    )
    effects: Mapped[list["EffectRow"]] = relationship(lazy="raise", viewonly=True, order_by="EffectRow.position")
    artifacts: Mapped[list["AttemptArtifactRow"]] = relationship(
        lazy="raise",
        viewonly=True,
        order_by="(AttemptArtifactRow.direction, AttemptArtifactRow.role)",
    )
    models: Mapped[list["AttemptModelRow"]] = relationship(
        lazy="raise", viewonly=True, order_by="AttemptModelRow.model_sha256"
    )
    reused: Mapped["AttemptRow | None"] = relationship(lazy="raise", viewonly=True, remote_side="AttemptRow.id")
    parameters: Mapped[DocumentRow | None] = relationship(
        lazy="raise", viewonly=True, foreign_keys=[parameters_sha256]
    )
    template: Mapped[DocumentRow | None] = relationship(
        lazy="raise", viewonly=True, foreign_keys=[template_sha256]
    )
    prompt: Mapped[DocumentRow | None] = relationship(lazy="raise", viewonly=True, foreign_keys=[prompt_sha256])
    frames: Mapped[DocumentRow | None] = relationship(lazy="raise", viewonly=True, foreign_keys=[frames_sha256])
    code_version: Mapped[CodeVersionRow] = relationship(lazy="raise", viewonly=True)
    environment: Mapped[EnvironmentRow] = relationship(lazy="raise", viewonly=True)


class ThoughtRow(Base):
    """One stage of the chain of thought, and which characters [span_start, span_end) of the raw output it is."""

    __tablename__ = "thought"

    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"), primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    stage: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    span_start: Mapped[int] = mapped_column(Integer)
    span_end: Mapped[int] = mapped_column(Integer)


class DecisionRow(Base):
    """Something decided, and the characters of the raw output it was read from (null: from a measurement)."""

    __tablename__ = "decision"

    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"), primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)
    confidence: Mapped[float | None] = mapped_column(Float(53))
    span_start: Mapped[int | None] = mapped_column(Integer)
    span_end: Mapped[int | None] = mapped_column(Integer)
    parser_version: Mapped[str | None] = mapped_column(Text)

    attempt: Mapped[AttemptRow] = relationship(lazy="raise", viewonly=True)


class EffectRow(Base):
    """What a decision did to the sound from `start_seconds` to `end_seconds` of presentation time.

    Hashes are of the whole audio before and after. Speech is in seconds and in dB re full scale, loudness in
    LUFS; null where it could not be measured, as on digital silence.
    """

    __tablename__ = "effect"
    __table_args__ = (
        ForeignKeyConstraint(
            ["decision_attempt_id", "decision_position"], ["decision.attempt_id", "decision.position"]
        ),
        Index(None, "decision_attempt_id", "decision_position"),
    )

    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"), primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    decision_attempt_id: Mapped[int | None] = mapped_column(ROW_ID)
    decision_position: Mapped[int | None] = mapped_column(SmallInteger)
    operation: Mapped[str] = mapped_column(Text)
    start_seconds: Mapped[float] = mapped_column(Float(53))
    end_seconds: Mapped[float] = mapped_column(Float(53))
    before_sha256: Mapped[str | None] = mapped_column(_SHA256)
    after_sha256: Mapped[str | None] = mapped_column(_SHA256)
    speech_seconds_before: Mapped[float | None] = mapped_column(Float(53))
    speech_seconds_after: Mapped[float | None] = mapped_column(Float(53))
    speech_level_before: Mapped[float | None] = mapped_column(Float(53))
    speech_level_after: Mapped[float | None] = mapped_column(Float(53))
    loudness_before: Mapped[float | None] = mapped_column(Float(53))
    loudness_after: Mapped[float | None] = mapped_column(Float(53))

    decision: Mapped[DecisionRow | None] = relationship(lazy="raise", viewonly=True)


class AttemptArtifactRow(Base):
    """An artifact an attempt read (`direction` input) or made (output), and the part it played."""

    __tablename__ = "attempt_artifact"

    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"), primary_key=True)
    direction: Mapped[str] = mapped_column(Text, primary_key=True)
    role: Mapped[str] = mapped_column(Text, primary_key=True)
    artifact_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"), index=True)

    artifact: Mapped[ArtifactRow] = relationship(lazy="raise", viewonly=True)


class AttemptModelRow(Base):
    """A model an attempt ran."""

    __tablename__ = "attempt_model"

    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"), primary_key=True)
    model_sha256: Mapped[str] = mapped_column(ForeignKey("model.sha256"), primary_key=True, index=True)

    model: Mapped[ModelRow] = relationship(lazy="raise", viewonly=True)


class RetryRow(Base):
    """A step taken back to be done once more, and with it every attempt from its first one on; see `standing`.

    A link in the item's chain, between the attempt whose `seq` is `after` and the next. `recompute`: the step is
    computed again; without it, an attempt with the same step key may be reused.
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
    previous_hash: Mapped[str] = mapped_column(_SHA256)
    hash: Mapped[str] = mapped_column(_SHA256)


class ExpiryRow(Base):
    """Bytes of an artifact that retention deleted from the store on purpose."""

    __tablename__ = "expiry"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True)
    artifact_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"), index=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(_SHA256)


class ReviewRow(Base):
    """A person's ruling on a judgement; a later one overrides an earlier one.

    A link in the item's chain: the next is the retry whose `previous_hash` is this `hash`.
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
    previous_hash: Mapped[str] = mapped_column(_SHA256)
    hash: Mapped[str] = mapped_column(_SHA256)


class SealRow(Base):
    """The signed Merkle root over the chains of a closed run; see `seals`.

    `witness` says what the root is over: how long each chain was and its last hash, and the seal before this one.
    """

    __tablename__ = "seal"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    items: Mapped[int] = mapped_column(Integer)
    merkle_root: Mapped[str] = mapped_column(_SHA256)
    algorithm: Mapped[str] = mapped_column(Text)
    public_key: Mapped[str] = mapped_column(Text)
    signature: Mapped[str] = mapped_column(Text)
    witness: Mapped[str | None] = mapped_column(Text)


class WorkerSessionRow(Base):
    """One worker process at work on one run. Times are the database's; `seen_at` is its latest heartbeat."""

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


class WorkRow(Base):
    """What is left to do: the one table that changes freely. It can be rebuilt from the others.

    `deaths` is how often a worker vanished while it held the step; only it is lost by that.
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
