"""Processes that write to a ledger are killed: what they had committed is there, of the rest there is nothing."""

import random
import time
from multiprocessing.connection import Connection

from sqlalchemy import func, select

from db.integrity.verify import verify_run
from db.read.queries import OpenStep, find_open_run, unfinished_steps
from db.read.run_progress import run_progress
from db.schema.database import Ledger, open_ledger
from db.schema.tables import ArtifactRow, AttemptRow, DocumentRow, ThoughtRow
from db.state.lease_owner import this_owner
from db.state.lease_queue import claim, release_dead
from db.write.attempts import record_attempt
from deepsound.pipeline import OutcomeKind
from tests.ledger_samples import PLAN_STEP, PROCESSES, a_run, begin, record_of, write


def test_a_writer_killed_before_it_commits_leaves_nothing(ledger_url: str) -> None:
    ledger = open_ledger(ledger_url)
    run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
    heard, says = PROCESSES.Pipe(duplex=False)
    writer = PROCESSES.Process(target=_write_and_wait, args=(ledger_url, item_id, says))
    writer.start()
    assert heard.recv() == "all rows sent"
    writer.kill()
    writer.join()
    with ledger.read() as session:
        for kind in (AttemptRow, ThoughtRow, ArtifactRow, DocumentRow):
            assert session.scalar(select(func.count()).select_from(kind)) == 0
    with ledger.write() as session:
        assert release_dead(session, run_id) == 1
    write(ledger, record_of(ledger, item_id, PLAN_STEP))
    with ledger.read() as session:
        assert verify_run(session, run_id) == []
    ledger.close()


def _write_and_wait(url: str, item_id: int, says: Connection) -> None:
    ledger = open_ledger(url)
    with ledger.write() as session:
        claim(session, item_id, PLAN_STEP, this_owner(), 600)
    with ledger.write() as session:
        record_attempt(session, record_of(ledger, item_id, PLAN_STEP), this_owner())
        says.send("all rows sent")
        time.sleep(600)


def test_a_run_whose_workers_are_killed_again_and_again_is_finished_without_a_trace(ledger_url: str) -> None:
    ledger = open_ledger(ledger_url)
    run = a_run(*(f"{number}.mp4" for number in range(14)))
    run_id, items = begin(ledger, run)
    chance = random.Random(7)
    for _ in range(6):
        worker = PROCESSES.Process(target=_work_through, args=(ledger_url, run_id))
        worker.start()
        worker.join(chance.uniform(0.05, 0.25))
        worker.kill()
        worker.join()
        with ledger.read() as session:
            assert verify_run(session, run_id) == []
    _work_through(ledger_url, run_id)
    with ledger.read() as session:
        assert verify_run(session, run_id) == []
        assert find_open_run(session, run.settings_sha256, run.manifest_sha256) is None
        progress = run_progress(session, run_id)
        twice = select(AttemptRow.item_id).group_by(AttemptRow.item_id, AttemptRow.step).having(func.count() > 1)
        assert session.scalars(twice).all() == []
    assert progress is not None
    assert progress.outcomes == {OutcomeKind.DONE: len(items)}
    ledger.close()


def _work_through(url: str, run_id: str) -> None:
    ledger = open_ledger(url)
    with ledger.write() as session:
        release_dead(session, run_id)
    while left := _left(ledger, run_id):
        for step in left:
            write(ledger, record_of(ledger, step.item_id, step.at), this_owner())
    ledger.close()


def _left(ledger: Ledger, run_id: str) -> list[OpenStep]:
    with ledger.read() as session:
        return unfinished_steps(session, run_id)
