"""Renames: `reopening` to `retry` (its column `anew` to `recompute`), `shift` to `worker_session`.

Rows are copied as they are. The hash of a retry does not cover the table's name and spells the column `anew` as
before (`db.schema.hashing.retry_hash`), so hashes and seals of older ledgers stay valid.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_FROZEN_IN_SESSION = ("id", "run_id", "owner", "host", "device", "flow_run_id", "started_at")
"""Columns of a worker session that never change: all but its heartbeat and its end."""

_SHA256 = sa.String(length=64)
_MOMENT = sa.DateTime(timezone=True)
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From 0002. New tables, and not ALTER TABLE, since SQLite can't rename the constraints of a table."""
    _create_retry()
    _create_worker_session()
    op.execute(
        'INSERT INTO retry (item_id, seq, after, step, round, recompute, at, "by", reason, previous_hash, hash) '
        'SELECT item_id, seq, after, step, round, anew, at, "by", reason, previous_hash, hash FROM reopening'
    )
    columns = ", ".join((*_FROZEN_IN_SESSION, "seen_at", "ended_at"))
    op.execute(f"INSERT INTO worker_session ({columns}) SELECT {columns} FROM shift")  # noqa: S608 - constants
    op.drop_table("reopening")
    op.drop_table("shift")
    # Indexes and triggers come after the copy, and after the old index that has the same purpose is gone.
    op.create_index(op.f("ix_worker_session_run_id"), "worker_session", ["run_id"])
    if op.get_bind().dialect.name == "postgresql":
        _finish_postgresql()
    else:
        _finish_sqlite()


def _create_retry() -> None:
    op.create_table(
        "retry",
        sa.Column("item_id", _ROW_ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("after", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("recompute", sa.Boolean(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("previous_hash", _SHA256, nullable=False),
        sa.Column("hash", _SHA256, nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_retry_item_id")),
        sa.PrimaryKeyConstraint("item_id", "seq", name=op.f("pk_retry")),
    )


def _create_worker_session() -> None:
    op.create_table(
        "worker_session",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("flow_run_id", sa.Text(), nullable=True),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_worker_session_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker_session")),
    )


def _finish_postgresql() -> None:
    # The sequence of the new table starts at 1, and the rows were copied with their numbers.
    op.execute(
        "SELECT setval(pg_get_serial_sequence('worker_session', 'id'), coalesce(max(id), 0) + 1, false) "
        "FROM worker_session"
    )
    frozen = ", ".join(_FROZEN_IN_SESSION)
    for table, updated in (("retry", "UPDATE"), ("worker_session", f"UPDATE OF {frozen}")):
        op.execute(
            f"CREATE TRIGGER {table}_is_append_only BEFORE {updated} OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def _finish_sqlite() -> None:
    frozen = ", ".join(_FROZEN_IN_SESSION)
    for table, columns in (("retry", ""), ("worker_session", f" OF {frozen}")):
        for action, changed in (("UPDATE", columns), ("DELETE", "")):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{action.lower()} BEFORE {action}{changed} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: {action} on {table}'); END"
            )
