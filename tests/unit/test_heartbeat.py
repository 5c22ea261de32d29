"""A worker's heartbeat: leases are kept while the process lives, and given back when it leaves."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from db.read.queries import unfinished_steps
from db.read.worker_status import live_worker_sessions
from db.schema.database import open_ledger
from db.schema.records import WorkState
from db.schema.tables import WorkerSessionRow
from db.state.lease_owner import lease_seconds, this_owner
from db.state.lease_queue import claim
from deepsound.storage.folder_store import FolderStore
from tasks.runtime.footage_cache import FootageCache
from tasks.runtime.heartbeat import worker_session
from tasks.runtime.worker import Worker
from tests.ledger_samples import EXECUTION_CONTEXT, PLAN_STEP, a_run, begin

OTHER = "worker-2:4711:1"


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DEEPSOUND_LEASE_SECONDS", "1")
    lease_seconds.cache_clear()
    yield
    lease_seconds.cache_clear()


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    return Worker(ledger, FolderStore(tmp_path / "store"), EXECUTION_CONTEXT, FootageCache())


def take(worker: Worker, item_id: int, owner: str) -> bool:
    with worker.ledger.write() as session:
        return claim(session, item_id, PLAN_STEP, owner, lease_seconds()) is not None


def state(worker: Worker, run_id: str) -> WorkState:
    with worker.ledger.read() as session:
        [step] = unfinished_steps(session, run_id)
    return step.state


def test_what_is_held_stays_held_while_the_worker_lives_and_is_open_when_it_leaves(worker: Worker) -> None:
    run_id, (item_id,) = begin(worker.ledger, a_run("a.mp4"))
    with worker_session(worker, run_id, "flow-1"):
        assert take(worker, item_id, this_owner())
        time.sleep(1.6)
        assert not take(worker, item_id, OTHER)
        with worker.ledger.read() as session:
            assert [shift.flow_run_id for shift in live_worker_sessions(session, run_id)] == ["flow-1"]
    assert state(worker, run_id) is WorkState.PENDING
    with worker.ledger.read() as session:
        assert live_worker_sessions(session, run_id) == []
        [shift] = session.scalars(select(WorkerSessionRow))
    assert shift.ended_at is not None
    assert shift.seen_at == shift.ended_at


def test_a_worker_that_is_interrupted_gives_back_what_it_holds(worker: Worker) -> None:
    run_id, (item_id,) = begin(worker.ledger, a_run("a.mp4"))

    def work_and_be_interrupted() -> None:
        with worker_session(worker, run_id):
            assert take(worker, item_id, this_owner())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_and_be_interrupted()
    assert state(worker, run_id) is WorkState.PENDING


def test_a_ledger_that_is_away_for_a_while_stops_no_heart(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    run_id, (item_id,) = begin(worker.ledger, a_run("a.mp4"))
    with worker_session(worker, run_id):
        assert take(worker, item_id, this_owner())
        rename(worker, "worker_session", "worker_session_elsewhere")
        with caplog.at_level(logging.WARNING):
            time.sleep(0.6)
        rename(worker, "worker_session_elsewhere", "worker_session")
        time.sleep(1.2)
        assert not take(worker, item_id, OTHER)
    assert "no heartbeat: sqlite:///" in caplog.text


def rename(worker: Worker, table: str, name: str) -> None:
    with worker.ledger.write() as session:
        session.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))
