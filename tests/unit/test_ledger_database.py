"""Opening a ledger: new, old, newer, by many at once, and not at all."""

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, func, insert, make_url, select, text

from db.integrity.verify import verify_run
from db.schema.database import Ledger, open_ledger
from db.schema.tables import AttemptRow, Base, DocumentRow, RunRow, WorkRow
from deepsound.errors import DeepSoundError, ErrorCode
from tests.ledger_samples import PROCESSES, a_run, begin, dub


def test_migrations_from_nothing_make_exactly_the_schema(ledger: Ledger) -> None:
    with ledger.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_ledger_opened_again_is_as_it_was_left(ledger_url: str) -> None:
    first = open_ledger(ledger_url)
    run_id, _ = begin(first, a_run("a.mp4"))
    first.close()
    second = open_ledger(ledger_url)
    with second.read() as session:
        assert session.scalars(select(RunRow.id)).all() == [run_id]
    second.close()


def test_two_processes_may_start_a_new_ledger_at_once(ledger_url: str) -> None:
    start = PROCESSES.Barrier(3)
    processes = [PROCESSES.Process(target=_begin_a_run, args=(ledger_url, start)) for _ in range(2)]
    for process in processes:
        process.start()
    start.wait(60)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    ledger = open_ledger(ledger_url)
    with ledger.read() as session:
        assert session.scalar(select(func.count()).select_from(RunRow)) == 2
    ledger.close()


def _begin_a_run(url: str, start: threading.Barrier) -> None:
    start.wait(60)
    ledger = open_ledger(url)
    begin(ledger, a_run("a.mp4"))
    ledger.close()


def test_many_threads_may_write_at_once(ledger: Ledger) -> None:
    threads = [threading.Thread(target=begin, args=(ledger, a_run(f"{number}.mp4"))) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.read() as session:
        assert session.scalar(select(func.count()).select_from(RunRow)) == 16


def test_what_fails_half_way_leaves_nothing(ledger: Ledger) -> None:
    def write_and_fail() -> None:
        with ledger.write() as session:
            session.execute(insert(DocumentRow), {"sha256": "0" * 64, "body": ""})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with ledger.read() as session:
        assert session.scalar(select(func.count()).select_from(DocumentRow)) == 0


def test_sqlite_is_set_up_to_lose_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path / 'deep' / 'er' / 'ledger.sqlite3'}")
    with ledger.read() as session:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers", "busy_timeout")
        values = [session.scalar(text(f"PRAGMA {name}")) for name in pragmas]
    ledger.close()
    assert values == ["wal", 2, 1, 1, 60_000]


def test_a_reader_does_not_wait_for_a_writer(ledger: Ledger) -> None:
    with ledger.write() as writing:
        writing.execute(insert(DocumentRow), {"sha256": "0" * 64, "body": ""})
        with ledger.read() as reading:
            assert reading.scalar(select(func.count()).select_from(DocumentRow)) == 0


def test_what_is_written_meanwhile_is_no_part_of_what_a_reader_sees(ledger: Ledger) -> None:
    run_id, [item_id] = begin(ledger, a_run("a.mp4"))
    with ledger.read() as reading:
        assert reading.scalar(select(func.count()).select_from(AttemptRow)) == 0
        dub(ledger, item_id)
        # Who asks for the attempts first and then for the to-do list would miss six.
        assert set(reading.scalars(select(WorkRow.state))) == {"pending"}
        assert verify_run(reading, run_id) == []
    with ledger.read() as reading:
        assert reading.scalar(select(func.count()).select_from(AttemptRow)) == 6
        assert verify_run(reading, run_id) == []


def test_a_ledger_of_a_newer_release_is_left_alone(ledger_url: str) -> None:
    open_ledger(ledger_url).close()
    engine = create_engine(make_url(ledger_url).set(drivername=_driver(ledger_url)))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(DeepSoundError, match="written by a newer release; update deepsound") as caught:
        open_ledger(ledger_url)
    assert caught.value.code is ErrorCode.BAD_SETTINGS


def _driver(url: str) -> str:
    return "sqlite+pysqlite" if url.startswith("sqlite") else "postgresql+psycopg"


def test_a_connection_lost_half_way_is_worth_a_retry_and_the_next_one_is_new(postgres_url: str) -> None:
    ledger = open_ledger(postgres_url)

    def write_while_the_server_goes_away() -> None:
        with ledger.write() as session:
            session.execute(insert(DocumentRow), {"sha256": "0" * 64, "body": ""})
            own = session.scalar(text("SELECT pg_backend_pid()"))
            with ledger.read() as other:
                other.execute(text("SELECT pg_terminate_backend(:own, 5000)"), {"own": own})

    with pytest.raises(DeepSoundError, match="check that it runs") as caught:
        write_while_the_server_goes_away()
    assert caught.value.code is ErrorCode.LEDGER_UNREACHABLE
    with ledger.write() as session:
        assert session.scalar(select(func.count()).select_from(DocumentRow)) == 0
    ledger.close()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("nonsense", "not a database URL"),
        ("mysql://kim:hush@localhost/x", "a ledger is an SQLite file or a PostgreSQL database"),
        ("sqlite://", "a ledger is an SQLite file or a PostgreSQL database"),
    ],
)
def test_a_url_that_is_no_ledgers_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(DeepSoundError, match=complaint) as caught:
        open_ledger(url)
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_an_unreachable_server_is_named_without_its_password(scheme: str) -> None:
    with pytest.raises(DeepSoundError, match=r"postgresql://kim:\*\*\*@localhost:1/x: ") as caught:
        open_ledger(f"{scheme}://kim:hush@localhost:1/x?password=hush")
    assert caught.value.code is ErrorCode.LEDGER_UNREACHABLE
    assert caught.value.is_retryable
    assert "hush" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "film.mp4"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(DeepSoundError, match="this is not a ledger") as caught:
        open_ledger(f"sqlite:///{file}")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert file.read_bytes() == b"not a database" * 100


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeepSoundError, match="can't create the folder of the ledger") as caught:
        open_ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.sqlite3'}")
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE


def test_a_full_disk_is_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite3"
    ledger = open_ledger(f"sqlite:///{file}")
    with ledger.write() as session:
        # SQLite gives the same error when a file may not grow as when the disk is full.
        session.execute(text("PRAGMA max_page_count = 1"))
    big = {"sha256": "0" * 64, "body": "x" * 1_000_000}
    with pytest.raises(DeepSoundError, match="the ledger's disk is full") as caught, ledger.write() as session:
        session.execute(insert(DocumentRow), big)
    assert caught.value.code is ErrorCode.DISK_FULL
    ledger.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
