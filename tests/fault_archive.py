"""Sixty videos on their way through everything: PostgreSQL, an S3 server behind a gateway, Prefect and workers."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import func, select

from db.read.worker_status import NO_DEVICE, LiveWorkerSession, live_worker_sessions
from db.schema.records import AttemptStatus
from db.schema.tables import ArtifactRow, ItemRow, VideoRow, WorkerSessionRow, WorkRow
from db.state.lease_queue import items_of_run
from deepsound.canonical_json import sha256_file
from deepsound.errors import ErrorCode
from deepsound.media.probe import probe
from tasks.runtime.stores import StoreUrls
from tests.postgres import OwnPostgres
from tests.prefect_workers import Pool, kill_group, start_pool, until
from tests.s3_gateway import Gateway, gateway_before
from tests.s3_servers import S3Server, a_bucket_name
from tests.sample_archive import PART, PART_SECONDS, Motley, motley_archive

LEASE_SECONDS = 8
"""Short, so that the outages of a test are long beside it, as those of an operator's night are beside a minute."""


@dataclass
class Sixty:
    """The archive, and everything it goes through. `seed` tells runs apart: none finds another's sounds."""

    pool: Pool
    postgres: OwnPostgres
    gateway: Gateway
    motley: Motley
    bucket: str
    seed: int = 0
    workers: list = field(default_factory=list)

    def worker(self, **environment: str) -> None:
        """One more worker that does the steps."""
        self.workers.append(self.pool.worker("gpu", DEEPSOUND_LOG="json", **environment))

    def kill_workers(self) -> None:
        """Those that do the steps, and all they started, at once."""
        while self.workers:
            worker = self.workers.pop()
            self.pool.workers.remove(worker)
            kill_group(worker)

    def replace_follower(self, **environment: str) -> None:
        """Another worker that follows runs, on a machine that is set up otherwise."""
        follower = self.pool.workers.pop(0)
        kill_group(follower)
        self.pool.worker("followers", limit=3, **environment)

    def at_work(self, run: str) -> list[LiveWorkerSession]:
        """The workers that do the steps, at this moment."""
        with self.pool.archive.worker.ledger.read() as session:
            return [shift for shift in live_worker_sessions(session, run) if shift.device != NO_DEVICE]

    def anybody_at_work(self) -> bool:
        with self.pool.archive.worker.ledger.read() as session:
            return bool(live_worker_sessions(session))

    def submit(self) -> str:
        """A new run. Workers get the videos from the store alone: to them the folders are on another machine."""
        self.seed += 1
        with self.motley.in_sight():
            said = self.pool.run("submit", *self.motley.inputs, "--seed", self.seed, "--json")
        return str(json.loads(said)["run"])

    def ended(self, run: str) -> int:
        progress = self.pool.progress(run)
        return progress.items - progress.open_items

    def wait_for(self, run: str, ended: int, seconds: float = 240) -> None:
        """Until so many videos have ended; some have not, so that what is broken next is felt."""
        until(lambda: self.ended(run) >= ended, seconds, f"the end of {ended} videos")
        assert self.pool.progress(run).open_items, "the next fault comes too late"

    def wait_for_end(self, run: str, seconds: float = 600) -> None:
        self.pool.wait_for_end(run, seconds)

    def items(self, run: str) -> list[ItemRow]:
        return [item for item in self.pool.archive.items() if item.run_id == run]

    def errors(self, run: str) -> Counter[str]:
        """The codes of all failed attempts, those of steps that were done later too."""
        attempts = [attempt for item in self.items(run) for attempt in item.attempts]
        return Counter(attempt.error_code for attempt in attempts if attempt.error_code is not None)

    def said(self) -> str:
        """What all workers and the flows in them wrote so far."""
        logs = sorted(self.pool.archive.folder.glob("worker-*.log"))
        return "\n".join(log.read_text(errors="replace") for log in logs)

    def shifts_that_never_ended(self, run: str) -> int:
        with self.pool.archive.worker.ledger.read() as session:
            return len(
                session.scalars(
                    select(WorkerSessionRow).where(
                        WorkerSessionRow.run_id == run, WorkerSessionRow.ended_at.is_(None)
                    )
                ).all()
            )

    def waited(self, run: str, since: datetime, to: datetime) -> int:
        """Attempts that ended while the ledger could not be written, and were written all the same."""
        attempts = [attempt for item in self.items(run) for attempt in item.attempts]
        return sum(since < attempt.ended_at < to for attempt in attempts)

    def deaths(self, run: str) -> int:
        """How often a worker was taken for dead while it held a step."""
        with self.pool.archive.worker.ledger.read() as session:
            counted = select(func.sum(WorkRow.deaths)).where(WorkRow.item_id.in_(items_of_run(run)))
            return session.scalar(counted) or 0

    @contextmanager
    def commits_waiting(self) -> Iterator[None]:
        """Inside, some worker is in the middle of writing an attempt down and gets no further."""
        with psycopg.connect(self.postgres.url) as other:
            other.execute("LOCK TABLE attempt_artifact IN EXCLUSIVE MODE")
            waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'attempt_artifact'::regclass AND NOT granted"
            until(lambda: other.execute(waiting).fetchone()[0], 120, "a commit that waits")
            yield

    def check_books(self, run: str, **fates: ErrorCode) -> None:
        """Every video accounted for as it should be, every row and byte as written, nothing done twice, no rests.

        `fates` are those that the faults of a test made others, by output name.
        """
        items = self.items(run)
        expected = {os.fsencode(path): code for path, code in self.motley.fates.items()}
        assert sorted(os.fsencode(item.source) for item in items) == sorted(expected), "each video once"
        found = {item.output_name: item.attempts[-1].error_code for item in items}
        wanted = {item.output_name: expected[os.fsencode(item.source)] for item in items} | fates
        assert found == wanted
        for check in ("verify", "reconcile"):
            done = self.pool.archive.command("audit", check, run)
            assert done.returncode == 0, done.stdout + done.stderr
        for item in items:
            self._check_item(item)
        assert probe(self.pool.archive.out / f"{PART}.mp4").duration == pytest.approx(PART_SECONDS)
        self._check_no_orphans()
        self._check_no_zombies(run)

    def _check_item(self, item: ItemRow) -> None:
        results = Counter((each.step, each.round) for each in item.attempts if each.status != AttemptStatus.FAILED)
        assert set(results.values()) <= {1}, f"{item.output_name}: a step has more than one result"
        assert [each.seq for each in item.attempts] == list(range(1, len(item.attempts) + 1))
        published = item.attempts[-1]
        if published.status != AttemptStatus.DONE:
            return
        made = {link.role: link.artifact_sha256 for link in published.artifacts if link.direction == "output"}
        for role, suffix in (("video", published.result["suffix"]), ("audio", ".wav")):
            assert sha256_file(self.pool.archive.out / f"{item.output_name}{suffix}") == made[role]

    def _check_no_orphans(self) -> None:
        """After a sweep bucket and results hold what the ledger knows, and nothing that never became whole."""
        until(lambda: not self.anybody_at_work(), 60, "the end of all shifts")
        self.pool.run("sweep", "--older-than-hours", "0", "--orphans")
        client = self.gateway.behind.client()
        with self.pool.archive.worker.ledger.read() as session:
            known = {*session.scalars(select(ArtifactRow.sha256)), *session.scalars(select(VideoRow.sha256))}
        there = {each.object_name for each in client.list_objects(self.bucket, recursive=True)}
        assert {name.rpartition("/")[2] for name in there} <= known
        assert not client._list_multipart_uploads(self.bucket).uploads
        assert self.pool.archive.leftovers() == []

    def _check_no_zombies(self, run: str) -> None:
        """Nothing of the run seems to run in Prefect for ever."""
        asked = {
            "flow_runs": {"tags": {"all_": [f"run:{run}"]}, "state": {"type": {"any_": ["RUNNING", "PENDING"]}}}
        }
        url = f"{self.pool.server.api_url}/flow_runs/filter"
        until(lambda: not httpx.post(url, json=asked).json(), 60, "the end of all flow runs")


@contextmanager
def sixty_videos(folder: Path, s3: S3Server) -> Iterator[Sixty]:
    """All of it, with a worker that follows runs and none yet that does the steps."""
    motley, bucket = motley_archive(folder / "archive"), a_bucket_name()
    with closing(OwnPostgres()) as postgres, gateway_before(s3) as gateway, pytest.MonkeyPatch.context() as patch:
        environment = gateway.server.environment(folder / "cache")
        environment |= {"DEEPSOUND_LEASE_SECONDS": str(LEASE_SECONDS)}
        for name, value in environment.items():
            patch.setenv(name, value)
        place = StoreUrls(db=postgres.url, store=f"s3://{bucket}/archive")
        with start_pool(folder, place) as pool:
            pool.worker("followers", limit=3)
            yield Sixty(pool, postgres, gateway, motley, bucket)


def for_seconds(seconds: float) -> None:
    """How long an outage lasts."""
    time.sleep(seconds)
