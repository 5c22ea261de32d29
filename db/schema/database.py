"""Opens a ledger: connections set up for durability, tables brought up to date, failures put in one line."""

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
    DeepSoundError,
    DiskFullError,
    LedgerUnreachableError,
    NoSuchRunError,
    OutputNotWritableError,
)

_VERSION_TABLE = "alembic_version"
_BUSY_SECONDS = 60
_CONNECT_SECONDS = 10
_PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}",
    "PRAGMA journal_mode = WAL",
    # What was reported as written survives a power cut, not only a crash: one fsync a transaction, and the
    # ledger is what everything else is checked against.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # Without it, INSERT OR REPLACE deletes rows past the triggers that keep tables append-only.
    "PRAGMA recursive_triggers = ON",
)


class Ledger:
    """An open ledger. Threads may share it; processes open their own."""

    def __init__(self, engine: Engine) -> None:
        self.url = _shown(engine.url)
        is_sqlite = engine.dialect.name == "sqlite"
        # All that one session reads is of one moment, as in SQLite: who looks into a second table after a worker
        # wrote to it and to the first would otherwise find what no ledger ever held.
        self._reading = engine if is_sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        self._writing = engine.execution_options(ledger_writes=True)
        # SQLite lets one write at a time and makes others poll; threads of one process queue here instead.
        self._turn = threading.RLock() if is_sqlite else nullcontext()

    @contextmanager
    def read(self) -> Generator[Session]:
        """A session to query with: the ledger as it is at its first query. What it loaded stays usable afterwards.

        Raises DeepSoundError.
        """
        with _in_one_line(self.url), Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Generator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises. Raises DeepSoundError."""
        with _in_one_line(self.url), self._turn, Session(self._writing) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close every connection."""
        self._reading.dispose()  # Both are views of one pool.


def open_ledger(url: str) -> Ledger:
    """Open the ledger at a `sqlite:///` or `postgresql://` URL, creating or updating its tables.

    Raises DeepSoundError: BAD_SETTINGS for a URL that is no ledger's, LEDGER_UNREACHABLE. No message holds
    the URL's password.
    """
    parsed = _parse(url)
    where = _shown(parsed)
    try:
        engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
        ledger = Ledger(engine)
        with ledger.write() as session:
            migrate(session.connection(), where)
    except DatabaseError as error:
        raise _bad_url(where, f"this is no ledger ({_reason(error)})") from error
    return ledger


def check_ledger(url: str) -> None:
    """Raise DeepSoundError (BAD_SETTINGS) where there is no ledger yet; nothing is made or changed.

    For whoever only reads: a ledger that was made just now would say that all is well.
    """
    parsed = _parse(url)
    where = _shown(parsed)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise _no_ledger(where)
    engine = create_engine(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    try:
        with _in_one_line(where), engine.connect() as connection:
            if not inspect(connection).has_table(_VERSION_TABLE):
                raise _no_ledger(where)
    except DatabaseError as error:
        raise _bad_url(where, f"this is no ledger ({_reason(error)})") from error
    finally:
        engine.dispose()


def no_such_run(session: Session, run_id: str) -> NoSuchRunError:
    """The error for an id that no run of this ledger has."""
    return NoSuchRunError(f"there is no run {run_id}", where=_shown(session.get_bind().engine.url))


def _no_ledger(where: str) -> DeepSoundError:
    remedy = "check --db and DEEPSOUND_DB; the first `deepsound dub` or `run submit` makes one"
    return BadSettingsError("there is no ledger", where=where, remedy=remedy)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres:") else url)
        backend = parsed.get_backend_name()
    except ArgumentError as error:
        raise _bad_url("--db", "this is no database URL") from error
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise _bad_url(_shown(parsed), "a ledger lives in an SQLite file or in PostgreSQL")
    return parsed.set(drivername="sqlite+pysqlite")


def _bad_url(where: str, what: str) -> DeepSoundError:
    remedy = "use sqlite:///FILE or postgresql://USER@HOST/NAME"
    return BadSettingsError(what, where=where, remedy=remedy)


def _shown(url: URL) -> str:
    # A password may also stand in the query.
    return url.set(drivername=url.get_backend_name(), query={}).render_as_string(hide_password=True)


def _sqlite(url: URL) -> Engine:
    folder = Path(url.database or "").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot make the folder of the ledger ({error.strerror})"
        raise OutputNotWritableError(what, where=str(folder)) from error
    engine = create_engine(url, json_serializer=canonical_json)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: DBAPIConnection, _record: object) -> None:
    # Python's driver would otherwise begin transactions by its own rules, and not before a CREATE TABLE.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        _execute_in_turn(cursor, pragma)
    cursor.close()


def _execute_in_turn(cursor: DBAPICursor, pragma: str) -> None:
    """SQLite itself does not wait where two processes turn a new file into a write-ahead log at once."""
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
    # A transaction that reads first and writes later fails at once if another wrote in between; one that
    # claims the right to write from the start waits for its turn.
    writes = connection.get_execution_options().get("ledger_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url,
            json_serializer=canonical_json,
            # A server that was restarted is noticed before it costs an attempt, one that is away within seconds.
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
        )
    except ImportError as error:
        raise BadSettingsError(
            "the PostgreSQL driver is not installed",
            where=_shown(url),
            remedy="pip install 'deepsound[postgres]'",
        ) from error


@contextmanager
def _in_one_line(where: str) -> Generator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise DiskFullError("no room left for the ledger", where=where) from error
        raise _unreachable(where, _reason(error)) from error
    except PoolTimeoutError as error:
        # More threads than connections, and every one of those waits for the database.
        raise _unreachable(where, "no connection came free for half a minute") from error


def _unreachable(where: str, why: str) -> DeepSoundError:
    remedy = "check that it runs and may be written to, then run the same command again"
    return LedgerUnreachableError(why, where=where, remedy=remedy)


def _reason(error: DatabaseError | InterfaceError) -> str:
    return str(error.orig).strip().split("\n", 1)[0]
