"""A hanging database and the connection pool that the threads of a process share."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from db.read.run_progress import run_list
from db.schema.database import open_ledger
from deepsound.errors import DeepSoundError, ErrorCode
from tests.postgres import OwnPostgres

pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.timeout(300)]

THREADS = 60
"""More threads than get a connection within the 30 s that a thread waits for one."""


def test_a_hanging_database_raises_ledger_unreachable_in_threads_without_a_connection():
    with closing(OwnPostgres()) as postgres, closing(open_ledger(postgres.url)) as ledger:

        def ask(_: int) -> ErrorCode | None:
            try:
                with ledger.read() as session:
                    run_list(session)
            except DeepSoundError as error:
                return error.code
            return None

        with ThreadPoolExecutor(THREADS) as threads:
            assert {*threads.map(ask, range(THREADS))} == {None}
            with postgres.paused():
                asked = [threads.submit(ask, number) for number in range(THREADS)]
                time.sleep(35)
            codes = [each.result() for each in asked]
            assert ErrorCode.LEDGER_UNREACHABLE in codes, "no thread noticed the pause"
            assert {*codes} <= {None, ErrorCode.LEDGER_UNREACHABLE}
            assert {*threads.map(ask, range(THREADS))} == {None}
