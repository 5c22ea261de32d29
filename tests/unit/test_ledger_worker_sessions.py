"""Workers at work: seen alive by their heartbeats, which also keep what they hold theirs."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import insert

from db.read.queries import unfinished_steps
from db.read.worker_status import (
    dead_flow_runs,
    live_flow_runs,
    live_worker_sessions,
    seconds_per_item,
    worker_seconds,
)
from db.schema.database import Ledger
from db.schema.records import WorkState
from db.schema.tables import WorkerSessionRow
from db.state.lease_owner import lease_seconds, this_owner
from db.state.lease_queue import claim
from db.write.worker_sessions import begin_worker_session, end_worker_session, record_heartbeat
from deepsound.errors import DeepSoundError, ErrorCode
from tests.ledger_samples import EXECUTION_CONTEXT, NOON, OWNER, PLAN_STEP, a_run, begin, dub

OTHER = "worker-2:4711:1"


@pytest.fixture(autouse=True)
def one_second_leases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DEEPSOUND_LEASE_SECONDS", "1")
    lease_seconds.cache_clear()
    yield
    lease_seconds.cache_clear()


def start(ledger: Ledger, run_id: str, owner: str, flow_run: str | None = None) -> int:
    with ledger.write() as session:
        return begin_worker_session(session, run_id, owner, EXECUTION_CONTEXT, flow_run)


def on_shift(ledger: Ledger, run_id: str) -> list[str]:
    with ledger.read() as session:
        return [shift.owner for shift in live_worker_sessions(session, run_id)]


def flow_runs(ledger: Ledger, run_id: str) -> tuple[set[str], set[str]]:
    """Those a worker is at work on, and those whose worker vanished."""
    with ledger.read() as session:
        return set(live_flow_runs(session, run_id)), set(dead_flow_runs(session, run_id))


def test_a_worker_is_live_while_it_is_seen_and_until_it_leaves(ledger: Ledger) -> None:
    run_id, _ = begin(ledger, a_run("a.mp4"))
    other_run, _ = begin(ledger, a_run("b.mp4"))
    vanishing, staying = start(ledger, run_id, OWNER, "flow-1"), start(ledger, run_id, OTHER, "flow-2")
    start(ledger, other_run, OWNER)
    assert on_shift(ledger, run_id) == [OWNER, OTHER]
    for _ in range(2):
        time.sleep(0.6)
        with ledger.write() as session:
            record_heartbeat(session, staying, OTHER)
    assert on_shift(ledger, run_id) == [OTHER]
    assert flow_runs(ledger, run_id) == ({"flow-2"}, {"flow-1"})
    with ledger.write() as session:
        record_heartbeat(session, vanishing, OWNER)
    assert on_shift(ledger, run_id) == [OWNER, OTHER]
    assert flow_runs(ledger, run_id) == ({"flow-1", "flow-2"}, set())
    with ledger.write() as session:
        end_worker_session(session, vanishing, OWNER)
    assert on_shift(ledger, run_id) == [OTHER]
    assert flow_runs(ledger, run_id) == ({"flow-2"}, set()), "who left is not lost"


def test_a_process_of_this_host_that_is_gone_is_not_live_even_before_its_time_is_up(ledger: Ledger) -> None:
    run_id, _ = begin(ledger, a_run("a.mp4"))
    host, pid, born = this_owner().rsplit(":", 2)
    start(ledger, run_id, f"{host}:{pid}:{int(born) - 1}")
    start(ledger, run_id, this_owner())
    assert on_shift(ledger, run_id) == [this_owner()]


def test_a_heartbeat_renews_all_leases_of_its_worker_and_no_others(ledger: Ledger) -> None:
    run_id, (mine, theirs) = begin(ledger, a_run("a.mp4", "b.mp4"))
    shift = start(ledger, run_id, OWNER)
    with ledger.write() as session:
        assert claim(session, mine, PLAN_STEP, OWNER, 0.5)
        assert claim(session, theirs, PLAN_STEP, OTHER, 0.5)
        record_heartbeat(session, shift, OWNER)
    time.sleep(0.7)
    with ledger.write() as session:
        assert claim(session, mine, PLAN_STEP, OTHER, 1) is None
        assert claim(session, theirs, PLAN_STEP, OWNER, 1) is not None


def test_who_leaves_gives_back_what_it_still_holds_of_that_run(ledger: Ledger) -> None:
    run_id, (held, others) = begin(ledger, a_run("a.mp4", "b.mp4"))
    other_run, (elsewhere,) = begin(ledger, a_run("c.mp4"))
    shift = start(ledger, run_id, OWNER)
    with ledger.write() as session:
        for item_id, owner in ((held, OWNER), (others, OTHER), (elsewhere, OWNER)):
            claim(session, item_id, PLAN_STEP, owner, 60)
        end_worker_session(session, shift, OWNER)
    with ledger.read() as session:
        assert [step.state for step in unfinished_steps(session, run_id)] == [WorkState.PENDING, WorkState.RUNNING]
        assert [step.state for step in unfinished_steps(session, other_run)] == [WorkState.RUNNING]
    with ledger.write() as session:
        lease = claim(session, held, PLAN_STEP, OTHER, 60)
    assert lease is not None
    assert lease.deaths == 0, "it did not vanish"


def test_hours_of_workers_add_up_and_a_vanished_one_counts_until_it_was_last_seen(ledger: Ledger) -> None:
    run_id, items = begin(ledger, a_run("a.mp4", "b.mp4"))
    with ledger.read() as session:
        assert worker_seconds(session, run_id) == 0.0
        assert seconds_per_item(session, run_id) is None
    hour = timedelta(hours=1)
    for started, seen, ended in (
        (NOON, NOON + hour + timedelta(seconds=0.5), NOON + hour + timedelta(seconds=0.5)),
        (NOON + hour / 2, NOON + hour * 2 / 3, None),
    ):
        row = {"run_id": run_id, "owner": OWNER, "host": "worker-1", "device": "cpu"}
        with ledger.write() as session:
            session.execute(
                insert(WorkerSessionRow), {**row, "started_at": started, "seen_at": seen, "ended_at": ended}
            )
    for item_id in items:
        dub(ledger, item_id)
    with ledger.read() as session:
        assert worker_seconds(session, run_id) == pytest.approx(4200.5, abs=0.01)
        assert seconds_per_item(session, run_id) == pytest.approx(2100.25, abs=0.01)


@pytest.mark.parametrize("asked", ["soon", "0", "-5", "inf", "nan"])
def test_a_length_of_a_lease_that_is_none_is_refused(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSOUND_LEASE_SECONDS", asked)
    lease_seconds.cache_clear()
    with pytest.raises(
        DeepSoundError, match=r"DEEPSOUND_LEASE_SECONDS: '.*' is not a number of seconds"
    ) as caught:
        lease_seconds()
    assert caught.value.code is ErrorCode.BAD_SETTINGS
