"""The to-do list: one holder a step, whatever dies, and nothing in it that the attempts don't say."""

import threading
import time
from multiprocessing.queues import Queue

from sqlalchemy import Executable, delete, insert, select, update

from db.read.queries import OpenStep, unfinished_steps
from db.schema.database import Ledger, open_ledger
from db.schema.records import StepRef, WorkState
from db.schema.tables import WorkRow
from db.state.lease_owner import this_owner
from db.state.lease_queue import claim, rebuild_work, release_dead
from deepsound.errors import StoreUnreachableError
from deepsound.pipeline import OutcomeKind, Step
from tests.ledger_samples import (
    GENERATE_STEP,
    JUDGE_STEP,
    OWNER,
    PLAN_STEP,
    PROCESSES,
    a_run,
    attempt,
    begin,
    dub,
    write,
)

OTHER = "worker-2:4711:1"


def take(ledger: Ledger, item_id: int, owner: str, seconds: float = 60.0) -> bool:
    with ledger.write() as session:
        return claim(session, item_id, PLAN_STEP, owner, seconds) is not None


def test_a_step_has_one_holder_who_may_renew(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    assert take(ledger, item_id, OWNER)
    assert not take(ledger, item_id, OTHER)
    assert take(ledger, item_id, OWNER)


def test_a_step_that_is_not_open_cannot_be_taken(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    with ledger.write() as session:
        assert not claim(session, item_id, GENERATE_STEP, OWNER, 60)
    write(ledger, attempt(item_id, PLAN_STEP, GENERATE_STEP))
    assert not take(ledger, item_id, OWNER)


def test_a_lease_that_ran_out_is_anybodys(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    assert take(ledger, item_id, OWNER, seconds=0.01)
    time.sleep(0.05)
    with ledger.read() as session:
        assert unfinished_steps(session, run_id) == [OpenStep(item_id, PLAN_STEP, WorkState.PENDING, OWNER)]
    assert take(ledger, item_id, OTHER)
    assert not take(ledger, item_id, OWNER)


def test_a_holder_that_vanished_is_counted_and_one_that_goes_on_is_not(ledger: Ledger) -> None:
    run_id, (item_id, stopped) = begin(ledger, a_run("a.mp4", "b.mp4"))
    host, pid, start = this_owner().rsplit(":", 2)
    dead = f"{host}:{pid}:{int(start) - 1}"
    with ledger.write() as session:
        claim(session, stopped, PLAN_STEP, dead, 60)
        assert release_dead(session, run_id) == 1, "a person stopped it and starts it again"
        lease = claim(session, stopped, PLAN_STEP, OWNER, 60)
    assert lease is not None
    assert lease.deaths == 0
    for owner, deaths in ((OWNER, 0), (OWNER, 0), (OTHER, 1), (OWNER, 2)):
        with ledger.write() as session:
            lease = claim(session, item_id, PLAN_STEP, owner, 0.01)
        assert lease is not None
        assert lease.deaths == deaths
        time.sleep(0.05)


def test_of_two_processes_after_the_same_steps_each_step_goes_to_one(ledger_url: str) -> None:
    ledger = open_ledger(ledger_url)
    _, items = begin(ledger, a_run(*(f"{number}.mp4" for number in range(40))))
    start, taken = PROCESSES.Barrier(3), PROCESSES.Queue()
    processes = [PROCESSES.Process(target=_take_all, args=(ledger_url, items, start, taken)) for _ in range(2)]
    for process in processes:
        process.start()
    start.wait(60)
    (first, of_first), (second, of_second) = taken.get(timeout=60), taken.get(timeout=60)
    for process in processes:
        process.join(60)
    assert first != second
    assert sorted(of_first + of_second) == list(items)
    with ledger.read() as session:
        holders = {row.item_id: row.lease_owner for row in session.scalars(select(WorkRow))}
    assert holders == dict.fromkeys(of_first, first) | dict.fromkeys(of_second, second)
    ledger.close()


def _take_all(url: str, items: list[int], start: threading.Barrier, taken: "Queue[tuple[str, list[int]]]") -> None:
    ledger = open_ledger(url)
    start.wait(60)
    taken.put((this_owner(), [item_id for item_id in items if take(ledger, item_id, this_owner())]))


def test_what_a_dead_process_held_is_given_back_and_what_a_living_one_holds_is_not(ledger: Ledger) -> None:
    run_id, (dead, alive, elsewhere) = begin(ledger, a_run("a.mp4", "b.mp4", "c.mp4"))
    host, pid, start = this_owner().rsplit(":", 2)
    take(ledger, dead, f"{host}:{pid}:{int(start) - 1}")
    take(ledger, alive, this_owner())
    take(ledger, elsewhere, OTHER)
    with ledger.write() as session:
        assert release_dead(session, run_id) == 1
    with ledger.read() as session:
        states = [(step.item_id, step.state) for step in unfinished_steps(session, run_id)]
    assert states == [(dead, WorkState.PENDING), (alive, WorkState.RUNNING), (elsewhere, WorkState.RUNNING)]


def six_items_in_every_state(ledger: Ledger) -> tuple[str, list[int]]:
    """A run with 15 rows in `work`: done, half done, failed, to be tried again, in round 2, and not begun."""
    run_id, items = begin(ledger, a_run(*(f"{number}.mp4" for number in range(6))))
    done, half_done, failed, to_try_again, fallen_back, _ = items
    down = StoreUnreachableError("no answer")
    dub(ledger, done)
    write(ledger, attempt(half_done, PLAN_STEP, GENERATE_STEP))
    write(ledger, attempt(failed, PLAN_STEP, OutcomeKind.FAILED, failure=down))
    write(ledger, attempt(to_try_again, PLAN_STEP, PLAN_STEP, failure=down))
    second_round = StepRef(Step.GENERATE, 2)
    for at, then in ((PLAN_STEP, JUDGE_STEP), (JUDGE_STEP, second_round), (second_round, StepRef(Step.JUDGE, 2))):
        write(ledger, attempt(fallen_back, at, then))
    return run_id, list(items)


def rebuild(ledger: Ledger, run_id: str, *changes: Executable) -> int:
    """Changes rows of `work`, then rebuilds those of a run. Returns the number of corrected rows."""
    with ledger.write() as session:
        for change in changes:
            session.execute(change)
        return rebuild_work(session, run_id)


def test_deleted_work_is_rebuilt_from_the_attempts_and_other_runs_are_left_alone(ledger: Ledger) -> None:
    run_id, _ = six_items_in_every_state(ledger)
    _, (other_run,) = begin(ledger, a_run("other.mp4"))
    before = work(ledger)
    assert len(before) == 16
    assert rebuild(ledger, run_id, delete(WorkRow).where(WorkRow.item_id != other_run)) == 15
    assert work(ledger) == before
    assert rebuild(ledger, run_id) == 0, "everything agrees"


def test_wrong_surplus_and_unknown_rows_of_work_are_corrected(ledger: Ledger) -> None:
    run_id, (done, half_done, failed, *_) = six_items_in_every_state(ledger)
    before = work(ledger)
    surplus = {"item_id": half_done, "step": "publish", "round": 1, "state": "done"}
    changes = (
        update(WorkRow).where(WorkRow.item_id == done, WorkRow.step == "publish").values(state="pending"),
        update(WorkRow).where(WorkRow.item_id == failed).values(state="lost"),
        insert(WorkRow).values(surplus),
    )
    assert rebuild(ledger, run_id, *changes) == 3
    assert work(ledger) == before


def test_a_rebuild_keeps_the_lease_and_the_deaths_of_a_running_step_that_is_open(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    for owner in (OWNER, OTHER):
        assert take(ledger, item_id, owner, seconds=0.01)
        time.sleep(0.05)
    assert rebuild(ledger, run_id) == 0
    with ledger.read() as session:
        row = session.scalars(select(WorkRow)).one()
        assert (row.state, row.lease_owner, row.deaths) == ("running", OTHER, 1)


def work(ledger: Ledger) -> list[tuple[int, str, int, str]]:
    columns = (WorkRow.item_id, WorkRow.step, WorkRow.round, WorkRow.state)
    with ledger.read() as session:
        return [tuple(row) for row in session.execute(select(*columns).order_by(*columns))]
