"""Migrations: a ledger of an earlier release is upgraded, keeps every row, and every hash and seal stays valid."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import (
    Connection,
    DateTime,
    MetaData,
    Table,
    create_engine,
    delete,
    insert,
    inspect,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from db.integrity.seal_checks import check_seal_sequence, check_seals
from db.integrity.verify import verify_run
from db.read.items import item_summaries, run_ids
from db.read.queries import OpenStep, unfinished_steps
from db.schema.column_types import UtcDateTime
from db.schema.database import Ledger, open_ledger
from db.schema.records import WorkState
from db.schema.tables import Base, RetryRow, WorkerSessionRow, WorkRow
from db.write.retries import retry_items
from db.write.worker_sessions import begin_worker_session
from deepsound.errors import ErrorCode
from deepsound.pipeline import OutcomeKind
from tests.ledger_samples import EXECUTION_CONTEXT, GENERATE_STEP, OWNER, PLAN_STEP

DATA = Path(__file__).parents[1] / "data"
WRITTEN_BY = {revision: DATA / f"ledger-{revision}.json" for revision in ("0001", "0002")}
"""Rows by table, as the release with that schema wrote them.

0001: item 1 is done, item 2 failed in `generate`, item 3 was running.
0002: item 1 is done, its publish step was retried and computed again; item 2 failed and was opened for a retry;
item 3 was reviewed and is done; one seal before and one after the review, run events, an expiry, an ended worker
session and one that never ended.
"""


def a_ledger_of_revision(revision: str, url: str) -> None:
    """Create the tables of a revision at `url` and insert the rows of its sample."""
    parsed = make_url(url)
    driver = "sqlite+pysqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    engine = create_engine(parsed.set(drivername=driver))
    config = Config()
    config.set_main_option("script_location", "db.schema:migrations")
    written: dict[str, list[dict[str, Any]]] = json.loads(WRITTEN_BY[revision].read_text(encoding="utf-8"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for name, rows in written.items():
            for row in rows:
                table = table_named(connection, name)
                connection.execute(insert(table), read_back(table, row))
    engine.dispose()


def table_named(connection: Connection, name: str) -> Table:
    """A table of today's schema, or one that only earlier releases had, as it is in the database."""
    if name in Base.metadata.tables:
        return Base.metadata.tables[name]
    table = Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
    for column in table.columns:
        if isinstance(column.type, DateTime):
            column.type = UtcDateTime()
    return table


def read_back(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    moments = {column.name for column in table.columns if isinstance(column.type, UtcDateTime)}
    return {
        name: datetime.fromisoformat(value) if name in moments and value is not None else value
        for name, value in row.items()
    }


def upgraded(revision: str, url: str) -> Ledger:
    a_ledger_of_revision(revision, url)
    return open_ledger(url)


def test_a_ledger_of_the_first_release_is_upgraded_and_every_row_is_as_it_was_written(ledger_url: str) -> None:
    ledger = upgraded("0001", ledger_url)
    with ledger.read() as session:
        [run_id] = run_ids(session)
        assert verify_run(session, run_id) == []
        ends = {end.item.source: (end.outcome, end.error_code) for end in item_summaries(session, run_id)}
        assert set(session.scalars(select(WorkRow.deaths))) == {0}
        [left] = unfinished_steps(session, run_id)
    assert ends == {
        "a.mp4": (OutcomeKind.DONE, None),
        "b.mp4": (OutcomeKind.FAILED, ErrorCode.SOURCE_CORRUPT),
        "c.mp4": (None, None),
    }
    # Its lease ran out long ago.
    assert left == OpenStep(3, PLAN_STEP, WorkState.PENDING, OWNER)
    ledger.close()


def test_what_failed_under_the_first_release_can_be_retried_under_this_one(ledger_url: str) -> None:
    ledger = upgraded("0001", ledger_url)
    with ledger.write() as session:
        [run_id] = run_ids(session)
        assert retry_items(session, run_id, error=ErrorCode.SOURCE_CORRUPT, by="kim@desk") == [2]
    with ledger.read() as session:
        assert verify_run(session, run_id) == []
        assert [(step.item_id, step.at) for step in unfinished_steps(session, run_id)] == [
            (2, GENERATE_STEP),
            (3, PLAN_STEP),
        ]
    ledger.close()


def test_retries_reviews_and_seals_of_the_second_schema_verify_after_the_upgrade(ledger_url: str) -> None:
    ledger = upgraded("0002", ledger_url)
    with ledger.read() as session:
        [run_id] = run_ids(session)
        assert verify_run(session, run_id) == []
        assert check_seals(session, run_id, ()).findings == []
        assert check_seal_sequence(session) == []
        retries = session.scalars(select(RetryRow).order_by(RetryRow.item_id)).all()
        assert [(row.item_id, row.step, row.recompute, row.reason) for row in retries] == [
            (1, "publish", True, "a new release"),
            (2, "generate", False, None),
            (3, "publish", False, "review 1: no, a child sings, in the picture"),
        ]
    ledger.close()


def test_worker_sessions_keep_their_numbers_and_new_ones_follow_them(ledger_url: str) -> None:
    ledger = upgraded("0002", ledger_url)
    with ledger.write() as session:
        [run_id] = run_ids(session)
        assert begin_worker_session(session, run_id, OWNER, EXECUTION_CONTEXT, None) == 3
    with ledger.read() as session:
        rows = session.scalars(select(WorkerSessionRow).order_by(WorkerSessionRow.id)).all()
    assert [(row.id, row.flow_run_id, row.ended_at is None) for row in rows] == [
        (1, "flow-1", False),
        (2, None, True),
        (3, None, True),
    ]
    ledger.close()


@pytest.mark.parametrize("revision", WRITTEN_BY)
def test_an_upgraded_ledger_has_the_tables_and_constraint_names_of_a_new_one(
    revision: str, ledger_url: str
) -> None:
    ledger = upgraded(revision, ledger_url)
    with ledger.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        tables = inspect(session.connection())
        for name in ("retry", "worker_session"):
            keys = [
                tables.get_pk_constraint(name)["name"],
                *(key["name"] for key in tables.get_foreign_keys(name)),
            ]
            wanted = Base.metadata.tables[name]
            assert set(keys) == {str(each.name) for each in (wanted.primary_key, *wanted.foreign_key_constraints)}
    ledger.close()


def test_renamed_tables_still_refuse_changes(ledger_url: str) -> None:
    ledger = upgraded("0002", ledger_url)
    retry, worker = Base.metadata.tables["retry"], Base.metadata.tables["worker_session"]
    changes = (
        update(retry).values(reason="none"),
        delete(retry),
        update(worker).values(host="other"),
        delete(worker),
    )
    for change in changes:
        with pytest.raises(DBAPIError, match="append-only"), ledger.write() as session:
            session.execute(change)
    ledger.close()
