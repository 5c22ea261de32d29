"""Resident memory of Prefect's server while it records tasks, on SQLite or in PostgreSQL.

    python -m benchmarks.server_memory [--tasks 24000] [--database postgresql+asyncpg://USER@HOST/EMPTY_DATABASE]

The server has our settings. A video of an archive run is four tasks. Prints as it goes.
"""

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
from prefect import flow, task

from tests.prefect_workers import PrefectServer

EACH = 2000


@task
def nothing() -> None:
    """What a task costs a server does not depend on what it does."""


@flow
def many(tasks: int) -> None:
    for _ in range(tasks):
        nothing()


def many_tasks(tasks: int) -> None:
    """For another process, which has no use for what a flow is."""
    many(tasks)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=24_000)
    parser.add_argument("--database", help="URL for Prefect; a file of its own where none is given")
    asked = parser.parse_args()
    if asked.database is not None:
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = asked.database
    with tempfile.TemporaryDirectory(prefix="server-", ignore_cleanup_errors=True) as folder:
        server = PrefectServer(Path(folder))
        os.environ.update(server.environment, PREFECT_LOGGING_LEVEL="ERROR")
        server.start()
        try:
            # Prefect reads its settings when it is imported, so its tasks run in a process that starts with them.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as another:
                for done in range(EACH, asked.tasks + 1, EACH):
                    another.submit(many_tasks, EACH).result()
                    print(f"{done} tasks: {memory(server):.0f} MB", flush=True)
        finally:
            server.kill()


def memory(server: PrefectServer) -> float:
    """Megabytes of the server and of all it started."""
    assert server.process is not None
    root = psutil.Process(server.process.pid)
    return sum(process.memory_info().rss for process in (root, *root.children(recursive=True))) / 2**20


if __name__ == "__main__":
    main()
