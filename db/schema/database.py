"""Opens a ledger: configures its connections for durability, updates its tables, translates database errors."""

import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from db.schema.migrate import migrate
from deepsound.canonical_json import canonical_json
from deepsound.errors import (
    BadSettingsError,
    DiskFullError,
    LedgerUnreachableError,
    NoSuchRunError,
    OutputNotWritableError,
    from_os_error,
)

_VERSION_TABLE = "alembic_version"
_BUSY_SECONDS = 60
_CONNECT_SECONDS = 10
_PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}",
    "PRAGMA journal_mode = WAL",
    # One fsync per transaction: a committed row survives a power cut, not only a crash.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # Without it, INSERT OR REPLACE deletes rows without firing the triggers that keep tables append-only.
    "PRAGMA recursive_triggers = ON",
)


class Ledger:
    """An open ledger. Threads may share it; each process opens its own."""

    def __init__(self, engine: Engine) -> None:
        self.url = _display_url(engine.url)
        is_sqlite = engine.dialect.name == "sqlite"
        # One session reads one snapshot, as in SQLite. Otherwise two queries of an audit could straddle a
        # worker's commit and report a state that never existed.
        self._reading = engine if is_sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        self._writing = engine.execution_options(ledger_writes=True)
        # SQLite allows one writer and makes the others poll; threads of one process queue here instead.
        self._write_lock = threading.RLock() if is_sqlite else nullcontext()

    @contextmanager
    def read(self) -> Generator[Session]:
        """Yields a session that reads a snapshot taken at its first query. Loaded rows stay usable afterwards.

        Raises LedgerUnreachableError.
        """
        with _translated_errors(self.url), Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Generator[Session]:
        """Yields a session in one transaction: committed when the block ends, rolled back when it raises.

        Raises LedgerUnreachableError, DiskFullError.
        """
        with _translated_errors(self.url), self._write_lock, Session(self._writing) as session, session.begin():
            yield session

    def close(self) -> None:
        """Closes every connection."""
        self._reading.dispose()  # Both engines share one pool.


def open_ledger(url: str) -> Ledger:
    """Opens the ledger at a `sqlite:///` or `postgresql://` URL, and creates or updates its tables.

    Raises BadSettingsError for a URL that is not a ledger's, LedgerUnreachableError, OutputNotWritableError,
    DiskFullError. No message contains the URL's password.
    """
    parsed = _parse(url)
    where = _display_url(parsed)
    try:
        engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
        ledger = Ledger(engine)
        with ledger.write() as session:
            migrate(session.connection(), where)
    except DatabaseError as error:
        raise _bad_url(where, f"this is not a ledger ({_reason(error)})") from error
    return ledger


def check_ledger(url: str) -> None:
    """Raises BadSettingsError if there is no ledger at a URL; creates and changes nothing.

    Commands that only read call it first: an audit of a ledger created by its own typing error would pass.
    """
    parsed = _parse(url)
    where = _display_url(parsed)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise _no_ledger(where)
    engine = create_engine(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    try:
        with _translated_errors(where), engine.connect() as connection:
            if not inspect(connection).has_table(_VERSION_TABLE):
                raise _no_ledger(where)
    except DatabaseError as error:
        raise _bad_url(where, f"this is not a ledger ({_reason(error)})") from error
    finally:
        engine.dispose()


def no_such_run(session: Session, run_id: str) -> NoSuchRunError:
    """The error for an id that no run of this ledger has."""
    return NoSuchRunError(f"there is no run {run_id}", where=_display_url(session.get_bind().engine.url))


def _no_ledger(where: str) -> BadSettingsError:
    remedy = "check --db and DEEPSOUND_DB; the first `deepsound dub` or `run submit` creates one"
    return BadSettingsError("there is no ledger", where=where, remedy=remedy)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres:") else url)
        backend = parsed.get_backend_name()
    except ArgumentError as error:
        raise _bad_url("--db", "not a database URL") from error
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise _bad_url(_display_url(parsed), "a ledger is an SQLite file or a PostgreSQL database")
    return parsed.set(drivername="sqlite+pysqlite")


def _bad_url(where: str, what: str) -> BadSettingsError:
    remedy = "use sqlite:///FILE or postgresql://USER@HOST/NAME"
    return BadSettingsError(what, where=where, remedy=remedy)


def _display_url(url: URL) -> str:
    # A password may also be in the query part.
    return url.set(drivername=url.get_backend_name(), query={}).render_as_string(hide_password=True)


def _sqlite(url: URL) -> Engine:
    folder = Path(url.database or "").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = "can't create the folder of the ledger"
        raise from_os_error(error, OutputNotWritableError, what, where=str(folder)) from error
    engine = create_engine(url, json_serializer=canonical_json)
    event.listen(engine, "connect", _configure_connection)
    event.listen(engine, "begin", _begin)
    return engine


def _configure_connection(connection: DBAPIConnection, _record: object) -> None:
    # Otherwise Python's driver begins transactions by itself, and not before a CREATE TABLE.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        _execute_when_free(cursor, pragma)
    cursor.close()


def _execute_when_free(cursor: DBAPICursor, pragma: str) -> None:
    """Waits for the lock, which SQLite doesn't do when two processes switch a new file to write-ahead logging."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute(pragma)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later fails if another one wrote in between; IMMEDIATE takes the
    # write lock at the start, and waits for it.
    writes = connection.get_execution_options().get("ledger_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url,
            json_serializer=canonical_json,
            # Finds out about a restarted server before a transaction fails, and about a missing one in seconds.
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
        )
    except ImportError as error:
        raise BadSettingsError(
            "the PostgreSQL driver is not installed",
            where=_display_url(url),
            remedy="pip install 'deepsound[postgres]'",
        ) from error


@contextmanager
def _translated_errors(where: str) -> Generator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise DiskFullError("the ledger's disk is full", where=where) from error
        raise _unreachable(where, _reason(error)) from error
    except PoolTimeoutError as error:
        # There are more threads than connections, and every connection waits for the database.
        raise _unreachable(where, "no connection was free for 30 s") from error


def _unreachable(where: str, why: str) -> LedgerUnreachableError:
    remedy = "check that it runs and is writable, then run the same command again"
    return LedgerUnreachableError(why, where=where, remedy=remedy)


def _reason(error: DatabaseError | InterfaceError) -> str:
    return str(error.orig).strip().split("\n", 1)[0]
