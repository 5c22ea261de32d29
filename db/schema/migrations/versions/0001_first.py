"""The first schema: all tables, and triggers that keep all but the to-do list append-only.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_APPEND_ONLY = (
    "document",
    "code_version",
    "environment",
    "model",
    "artifact",
    "video",
    "run",
    "item",
    "attempt",
    "thought",
    "decision",
    "effect",
    "attempt_artifact",
    "attempt_model",
    "review",
    "seal",
)
_SHA256 = sa.String(length=64)
_MOMENT = sa.DateTime(timezone=True)
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From nothing."""
    _create_shared()
    _create_runs()
    _create_attempts()
    _create_owned()
    _create_after()
    if op.get_bind().dialect.name == "postgresql":
        _protect_postgresql()
    else:
        _protect_sqlite()


def _protect_postgresql() -> None:
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the ledger is append-only: % on %', TG_OP, TG_TABLE_NAME;
        END $$
        """
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def _protect_sqlite() -> None:
    for table in _APPEND_ONLY:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: {action} on {table}'); END"
            )


def _create_shared() -> None:
    op.create_table(
        "artifact",
        sa.Column("sha256", _SHA256, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_artifact")),
    )
    op.create_table(
        "code_version",
        sa.Column("sha256", _SHA256, nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("is_modified", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_code_version")),
    )
    op.create_table(
        "document",
        sa.Column("sha256", _SHA256, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_document")),
    )
    op.create_table(
        "environment",
        sa.Column("sha256", _SHA256, nullable=False),
        sa.Column("python", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("packages", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_environment")),
    )
    op.create_table(
        "model",
        sa.Column("sha256", _SHA256, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_model")),
    )
    op.create_table(
        "video",
        sa.Column("sha256", _SHA256, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("probe", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_video")),
    )


def _create_runs() -> None:
    op.create_table(
        "run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("settings_sha256", _SHA256, nullable=False),
        sa.Column("manifest_sha256", _SHA256, nullable=False),
        sa.Column("code_version_sha256", _SHA256, nullable=False),
        sa.ForeignKeyConstraint(
            ["code_version_sha256"], ["code_version.sha256"], name=op.f("fk_run_code_version_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index(op.f("ix_run_settings_sha256_manifest_sha256"), "run", ["settings_sha256", "manifest_sha256"])
    op.create_table(
        "item",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("output_name", sa.Text(), nullable=False),
        sa.Column("overrides", sa.JSON(), nullable=False),
        sa.Column("video_sha256", _SHA256, nullable=True),
        sa.Column("hash", _SHA256, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_item_run_id")),
        sa.ForeignKeyConstraint(["video_sha256"], ["video.sha256"], name=op.f("fk_item_video_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item")),
        sa.UniqueConstraint("run_id", "ordinal", name=op.f("uq_item_run_id_ordinal")),
    )
    op.create_index(op.f("ix_item_video_sha256"), "item", ["video_sha256"])


def _create_attempts() -> None:
    op.create_table(
        "attempt",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("item_id", _ROW_ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reused_attempt_id", _ROW_ID, nullable=True),
        sa.Column("next_step", sa.Text(), nullable=True),
        sa.Column("next_round", sa.SmallInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("step_key", _SHA256, nullable=True),
        sa.Column("step_version", sa.Text(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("parameters_sha256", _SHA256, nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("template_sha256", _SHA256, nullable=True),
        sa.Column("prompt_sha256", _SHA256, nullable=True),
        sa.Column("frames_sha256", _SHA256, nullable=True),
        sa.Column("raw_output", sa.Text(), nullable=True),
        sa.Column("parser_version", sa.Text(), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("probability", sa.Float(precision=53), nullable=True),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("code_version_sha256", _SHA256, nullable=False),
        sa.Column("environment_sha256", _SHA256, nullable=False),
        sa.Column("prefect_flow_run_id", sa.Text(), nullable=True),
        sa.Column("prefect_task_run_id", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("is_retryable", sa.Boolean(), nullable=True),
        sa.Column("digests", sa.JSON(), nullable=False),
        sa.Column("previous_hash", _SHA256, nullable=False),
        sa.Column("hash", _SHA256, nullable=False),
        sa.ForeignKeyConstraint(
            ["code_version_sha256"], ["code_version.sha256"], name=op.f("fk_attempt_code_version_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["environment_sha256"], ["environment.sha256"], name=op.f("fk_attempt_environment_sha256")
        ),
        sa.ForeignKeyConstraint(["frames_sha256"], ["document.sha256"], name=op.f("fk_attempt_frames_sha256")),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_attempt_item_id")),
        sa.ForeignKeyConstraint(
            ["parameters_sha256"], ["document.sha256"], name=op.f("fk_attempt_parameters_sha256")
        ),
        sa.ForeignKeyConstraint(["prompt_sha256"], ["document.sha256"], name=op.f("fk_attempt_prompt_sha256")),
        sa.ForeignKeyConstraint(["reused_attempt_id"], ["attempt.id"], name=op.f("fk_attempt_reused_attempt_id")),
        sa.ForeignKeyConstraint(["template_sha256"], ["document.sha256"], name=op.f("fk_attempt_template_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("item_id", "seq", name=op.f("uq_attempt_item_id_seq")),
    )
    op.create_index(
        "ix_attempt_error_code",
        "attempt",
        ["error_code"],
        postgresql_where=sa.text("status = 'failed'"),
        sqlite_where=sa.text("status = 'failed'"),
    )
    op.create_index(
        "ix_attempt_prompt_sha256",
        "attempt",
        ["prompt_sha256", "started_at"],
        postgresql_where=sa.text("prompt_sha256 IS NOT NULL"),
        sqlite_where=sa.text("prompt_sha256 IS NOT NULL"),
    )
    op.create_index(
        "ix_attempt_reused_attempt_id",
        "attempt",
        ["reused_attempt_id"],
        postgresql_where=sa.text("reused_attempt_id IS NOT NULL"),
        sqlite_where=sa.text("reused_attempt_id IS NOT NULL"),
    )
    op.create_index(
        "ix_attempt_step_key",
        "attempt",
        ["step_key"],
        postgresql_where=sa.text("status = 'done'"),
        sqlite_where=sa.text("status = 'done'"),
    )


def _create_owned() -> None:
    op.create_table(
        "attempt_artifact",
        sa.Column("attempt_id", _ROW_ID, nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("artifact_sha256", _SHA256, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_sha256"], ["artifact.sha256"], name=op.f("fk_attempt_artifact_artifact_sha256")
        ),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_attempt_artifact_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "direction", "role", name=op.f("pk_attempt_artifact")),
    )
    op.create_index(op.f("ix_attempt_artifact_artifact_sha256"), "attempt_artifact", ["artifact_sha256"])
    op.create_table(
        "attempt_model",
        sa.Column("attempt_id", _ROW_ID, nullable=False),
        sa.Column("model_sha256", _SHA256, nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_attempt_model_attempt_id")),
        sa.ForeignKeyConstraint(["model_sha256"], ["model.sha256"], name=op.f("fk_attempt_model_model_sha256")),
        sa.PrimaryKeyConstraint("attempt_id", "model_sha256", name=op.f("pk_attempt_model")),
    )
    op.create_index(op.f("ix_attempt_model_model_sha256"), "attempt_model", ["model_sha256"])
    op.create_table(
        "thought",
        sa.Column("attempt_id", _ROW_ID, nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("span_start", sa.Integer(), nullable=False),
        sa.Column("span_end", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_thought_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "position", name=op.f("pk_thought")),
    )
    op.create_table(
        "decision",
        sa.Column("attempt_id", _ROW_ID, nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Float(precision=53), nullable=True),
        sa.Column("span_start", sa.Integer(), nullable=True),
        sa.Column("span_end", sa.Integer(), nullable=True),
        sa.Column("parser_version", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_decision_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "position", name=op.f("pk_decision")),
    )
    op.create_table(
        "effect",
        sa.Column("attempt_id", _ROW_ID, nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("decision_attempt_id", _ROW_ID, nullable=True),
        sa.Column("decision_position", sa.SmallInteger(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("start_seconds", sa.Float(precision=53), nullable=False),
        sa.Column("end_seconds", sa.Float(precision=53), nullable=False),
        sa.Column("before_sha256", _SHA256, nullable=True),
        sa.Column("after_sha256", _SHA256, nullable=True),
        sa.Column("speech_seconds_before", sa.Float(precision=53), nullable=True),
        sa.Column("speech_seconds_after", sa.Float(precision=53), nullable=True),
        sa.Column("speech_level_before", sa.Float(precision=53), nullable=True),
        sa.Column("speech_level_after", sa.Float(precision=53), nullable=True),
        sa.Column("loudness_before", sa.Float(precision=53), nullable=True),
        sa.Column("loudness_after", sa.Float(precision=53), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_effect_attempt_id")),
        sa.ForeignKeyConstraint(
            ["decision_attempt_id", "decision_position"],
            ["decision.attempt_id", "decision.position"],
            name=op.f("fk_effect_decision_attempt_id_decision_position"),
        ),
        sa.PrimaryKeyConstraint("attempt_id", "position", name=op.f("pk_effect")),
    )
    op.create_index(
        op.f("ix_effect_decision_attempt_id_decision_position"),
        "effect",
        ["decision_attempt_id", "decision_position"],
    )


def _create_after() -> None:
    op.create_table(
        "review",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("item_id", _ROW_ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("attempt_id", _ROW_ID, nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("previous_hash", _SHA256, nullable=False),
        sa.Column("hash", _SHA256, nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_review_attempt_id")),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_review_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
        sa.UniqueConstraint("item_id", "seq", name=op.f("uq_review_item_id_seq")),
    )
    op.create_table(
        "seal",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("merkle_root", _SHA256, nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("witness", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_seal_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_seal")),
    )
    op.create_index(op.f("ix_seal_run_id"), "seal", ["run_id"])
    op.create_table(
        "work",
        sa.Column("item_id", _ROW_ID, nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_work_item_id")),
        sa.PrimaryKeyConstraint("item_id", "step", "round", name=op.f("pk_work")),
    )
    op.create_index(
        "ix_work_open",
        "work",
        ["item_id"],
        postgresql_where=sa.text("state IN ('pending', 'running')"),
        sqlite_where=sa.text("state IN ('pending', 'running')"),
    )
