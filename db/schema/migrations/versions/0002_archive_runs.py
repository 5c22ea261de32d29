"""Archive runs: what an operator did to a run, steps taken back, workers at work, bytes deleted on purpose.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_APPEND_ONLY = ("run_event", "reopening", "expiry")
_OF_A_SHIFT = ("id", "run_id", "owner", "host", "device", "flow_run_id", "started_at")
"""All of its columns but the heartbeat and the end."""

_SHA256 = sa.String(length=64)
_MOMENT = sa.DateTime(timezone=True)
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From 0001."""
    op.add_column("work", sa.Column("deaths", sa.Integer(), nullable=False, server_default="0"))
    _create_evidence()
    _create_shift()
    columns = ", ".join(_OF_A_SHIFT)
    if op.get_bind().dialect.name == "postgresql":
        for table in _APPEND_ONLY:
            _protect_postgresql(table, "UPDATE OR DELETE OR TRUNCATE")
        _protect_postgresql("shift", f"UPDATE OF {columns} OR DELETE OR TRUNCATE")
    else:
        for table in (*_APPEND_ONLY, "shift"):
            _protect_sqlite(table, "UPDATE", f" OF {columns}" if table == "shift" else "")
            _protect_sqlite(table, "DELETE", "")


def _protect_postgresql(table: str, changes: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_is_append_only BEFORE {changes} ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def _protect_sqlite(table: str, action: str, columns: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_refuses_{action.lower()} BEFORE {action}{columns} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: {action} on {table}'); END"
    )


def _create_evidence() -> None:
    op.create_table(
        "run_event",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("previous_hash", _SHA256, nullable=False),
        sa.Column("hash", _SHA256, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_event_run_id")),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_run_event")),
    )
    op.create_table(
        "reopening",
        sa.Column("item_id", _ROW_ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("after", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("anew", sa.Boolean(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("previous_hash", _SHA256, nullable=False),
        sa.Column("hash", _SHA256, nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_reopening_item_id")),
        sa.PrimaryKeyConstraint("item_id", "seq", name=op.f("pk_reopening")),
    )
    op.create_table(
        "expiry",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("artifact_sha256", _SHA256, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("hash", _SHA256, nullable=False),
        sa.ForeignKeyConstraint(["artifact_sha256"], ["artifact.sha256"], name=op.f("fk_expiry_artifact_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_expiry")),
    )
    op.create_index(op.f("ix_expiry_artifact_sha256"), "expiry", ["artifact_sha256"])


def _create_shift() -> None:
    op.create_table(
        "shift",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("flow_run_id", sa.Text(), nullable=True),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_shift_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shift")),
    )
    op.create_index(op.f("ix_shift_run_id"), "shift", ["run_id"])
