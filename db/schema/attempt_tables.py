"""Tables of attempts, and of what belongs to one attempt: thoughts, decisions, effects, artifacts, models."""

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
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.schema.column_types import ROW_ID, UtcDateTime
from db.schema.shared_tables import ArtifactRow, CodeVersionRow, DocumentRow, EnvironmentRow, ModelRow
from db.schema.table_base import NULLABLE_JSON, SHA256, Base

_DONE = text("status = 'done'")
_FAILED = text("status = 'failed'")
_HAS_PROMPT = text("prompt_sha256 IS NOT NULL")
_REUSED = text("reused_attempt_id IS NOT NULL")


class AttemptRow(Base):
    """One execution of a step, written when it ended. Rows of one item form a hash chain in order of `seq`.

    `number` counts the attempts at the same step and round. What follows is either `next_step` with `next_round`,
    or `outcome`, which ends the item. A reused attempt has no raw output, effects or outputs of its own: they are
    those of `reused_attempt_id`. `digests` holds the digest of every row that belongs to the attempt, by row name.
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
            postgresql_where=_HAS_PROMPT,
            sqlite_where=_HAS_PROMPT,
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
    step_key: Mapped[str | None] = mapped_column(SHA256)
    step_version: Mapped[str] = mapped_column(Text)
    backend: Mapped[str] = mapped_column(Text)
    parameters_sha256: Mapped[str | None] = mapped_column(ForeignKey("document.sha256"))
    seed: Mapped[int | None] = mapped_column(BigInteger)
    template_sha256: Mapped[str | None] = mapped_column(ForeignKey("document.sha256"))
    prompt_sha256: Mapped[str | None] = mapped_column(ForeignKey("document.sha256"))
    frames_sha256: Mapped[str | None] = mapped_column(ForeignKey("document.sha256"))
    raw_output: Mapped[str | None] = mapped_column(Text)
    parser_version: Mapped[str | None] = mapped_column(Text)
    result: Mapped[dict[str, Any] | None] = mapped_column(NULLABLE_JSON)
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
    previous_hash: Mapped[str] = mapped_column(SHA256)
    hash: Mapped[str] = mapped_column(SHA256)

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
    """One stage of the chain of thought: characters [span_start, span_end) of the attempt's raw output."""

    __tablename__ = "thought"

    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"), primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    stage: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    span_start: Mapped[int] = mapped_column(Integer)
    span_end: Mapped[int] = mapped_column(Integer)


class DecisionRow(Base):
    """A decision, and the characters of the raw output it was parsed from (null: it comes from a measurement)."""

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

    Hashes are of the whole audio before and after. Speech is in seconds and in dB re full scale, loudness in LUFS;
    null where the value can't be measured, as on digital silence.
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
    before_sha256: Mapped[str | None] = mapped_column(SHA256)
    after_sha256: Mapped[str | None] = mapped_column(SHA256)
    speech_seconds_before: Mapped[float | None] = mapped_column(Float(53))
    speech_seconds_after: Mapped[float | None] = mapped_column(Float(53))
    speech_level_before: Mapped[float | None] = mapped_column(Float(53))
    speech_level_after: Mapped[float | None] = mapped_column(Float(53))
    loudness_before: Mapped[float | None] = mapped_column(Float(53))
    loudness_after: Mapped[float | None] = mapped_column(Float(53))

    decision: Mapped[DecisionRow | None] = relationship(lazy="raise", viewonly=True)


class AttemptArtifactRow(Base):
    """An artifact that an attempt read (`direction` input) or made (output), and its role."""

    __tablename__ = "attempt_artifact"

    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"), primary_key=True)
    direction: Mapped[str] = mapped_column(Text, primary_key=True)
    role: Mapped[str] = mapped_column(Text, primary_key=True)
    artifact_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"), index=True)

    artifact: Mapped[ArtifactRow] = relationship(lazy="raise", viewonly=True)


class AttemptModelRow(Base):
    """A model that an attempt ran."""

    __tablename__ = "attempt_model"

    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"), primary_key=True)
    model_sha256: Mapped[str] = mapped_column(ForeignKey("model.sha256"), primary_key=True, index=True)

    model: Mapped[ModelRow] = relationship(lazy="raise", viewonly=True)
