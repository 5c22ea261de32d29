"""What a process that shares a ledger's connections among its threads makes of a database that hangs."""

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
"""More than get a turn at connecting before the half minute is over that a thread waits for one."""


def test_threads_that_get_no_connection_are_told_that_the_ledger_is_away_and_the_others_wait():
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
            assert ErrorCode.LEDGER_UNREACHABLE in codes, "the pause was felt"
            assert {*codes} <= {None, ErrorCode.LEDGER_UNREACHABLE}
            assert {*threads.map(ask, range(THREADS))} == {None}
