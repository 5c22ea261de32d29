"""A ledger written by an earlier release goes on under this one: nothing lost, every hash still true."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Table, create_engine, insert, make_url, select

from db.integrity.verify import verify_run
from db.read.items import item_summaries, run_ids
from db.read.queries import unfinished_steps
from db.schema.database import open_ledger
from db.schema.records import OpenStep, WorkState
from db.schema.tables import Base, UtcDateTime, WorkRow
from db.write.retries import retry_items
from deepsound.errors import ErrorCode
from deepsound.pipeline import OutcomeKind
from tests.ledger_samples import GENERATE_STEP, OWNER, PLAN_STEP

WRITTEN_BY_0001 = Path(__file__).parents[1] / "data" / "ledger-0001.json"
"""Rows by table: one video dubbed, one that failed in `generate`, one a worker is at."""


def a_ledger_of_revision_0001(url: str) -> None:
    parsed = make_url(url)
    driver = "sqlite+pysqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    engine = create_engine(parsed.set(drivername=driver))
    config = Config()
    config.set_main_option("script_location", "db.schema:migrations")
    written = json.loads(WRITTEN_BY_0001.read_text(encoding="utf-8"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table in Base.metadata.sorted_tables:
            for row in written.get(table.name, []):
                connection.execute(insert(table), read_back(table, row))
    engine.dispose()


def read_back(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    moments = {column.name for column in table.columns if isinstance(column.type, UtcDateTime)}
    return {name: datetime.fromisoformat(value) if name in moments else value for name, value in row.items()}


def test_a_ledger_of_the_first_release_is_upgraded_and_every_row_is_as_it_was_written(ledger_url: str) -> None:
    a_ledger_of_revision_0001(ledger_url)
    ledger = open_ledger(ledger_url)
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
    a_ledger_of_revision_0001(ledger_url)
    ledger = open_ledger(ledger_url)
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
