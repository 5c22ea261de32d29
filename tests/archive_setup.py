"""An archive to test on: ledger, store and results of its own, and the command's own way through them.

Fixtures: `archive` works in this process on a Prefect server that the session shares; `Archive.command` types the
command as a user does, in a process of its own.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from console.cli.settings import settings_from
from db.read.evidence import item_evidence
from db.read.items import run_ids, run_items
from db.schema.tables import ItemRow
from deepsound.errors import DeepSoundError
from deepsound.storage.location import location
from flows.local_run import drive_run
from flows.prefect_server import PrivateServer, use_server
from tasks.operations.item_loading import load_items
from tasks.operations.manifest import collect
from tasks.operations.run_activity import unfinished_items
from tasks.operations.run_registration import begin_run
from tasks.operations.run_results import ItemResult, read_results
from tasks.operations.submission import Submission, submit, take_stock
from tasks.runtime.item import Item
from tasks.runtime.item_footage import evict_footage
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import Worker, open_worker
from tasks.steps.recording import LAST_TRY
from tasks.steps.runner import reuse_step, run_step

DEEPSOUND = str(Path(sys.executable).with_name("deepsound"))


@dataclass(frozen=True)
class Archive:
    """One place to work at."""

    folder: Path
    place: StoreUrls
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def worker(self) -> Worker:
        return open_worker(self.place)

    def dub(self, *inputs: Path, **flags: Any) -> list[ItemResult]:
        """What `deepsound dub` does, in this process."""
        return self.drive(self.register(*inputs, **flags))

    def register(self, *inputs: Path, **flags: Any) -> str:
        """The first half of it: the run is in the ledger and nothing is done yet."""
        settings = settings_from(out=str(self.out), **flags)
        sources = collect([location(path) for path in inputs], location(self.out)).sources
        return begin_run(self.worker, settings.run, sources, lambda _: None)[0]

    def drive(self, run_id: str) -> list[ItemResult]:
        """The second half."""
        drive_run(self.worker, self.place, run_id, lambda _: None)
        return read_results(self.worker, run_id)

    def submit(self, given: Path | str, out: str) -> str:
        """The run that `deepsound run submit` registers; nobody follows it."""
        order = Submission([str(given)], settings_from(out=out).run, None, "cpu", "normal", None)
        return submit(self.worker, order, take_stock(order), lambda _: None)[0]

    def work_through(self, run_id: str) -> list[ItemResult]:
        """What a worker does, which has nothing but ledger and store; failures are in the results."""
        for item in self.unfinished(run_id):
            with suppress(DeepSoundError):
                state: Item | None = item
                while state is not None:
                    state = self.step(state)
            evict_footage(item, self.worker.footage)
        return read_results(self.worker, run_id)

    def unfinished(self, run_id: str) -> list[Item]:
        """The items of a run that have not ended, as a worker loads them."""
        return load_items(self.worker, run_id, unfinished_items(self.worker, run_id))

    def step(self, item: Item) -> Item | None:
        """Reuse or do the next step of an item; None where it has ended. Raises DeepSoundError."""
        action = item.next_action()
        if action is None:
            return None
        return reuse_step(self.worker, item, action) or run_step(self.worker, item, action, LAST_TRY)

    def command(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """The command as a user types it; its output is text."""
        return subprocess.run(
            [DEEPSOUND, *map(str, arguments)],
            env=self.variables(**environment),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def start(self, *arguments: object, log: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """The command in the background; what it says goes to `log`, or nowhere."""
        with Path(log or os.devnull).open("wb") as said:
            return subprocess.Popen(
                [DEEPSOUND, *map(str, arguments)],
                env=self.variables(**environment),
                stdout=subprocess.DEVNULL,
                stderr=said,
            )

    def variables(self, **more: str) -> dict[str, str]:
        """The environment in which the command works at this place."""
        here = {"DEEPSOUND_DB": self.place.db, "DEEPSOUND_STORE": self.place.store, "DEEPSOUND_OUT": str(self.out)}
        return {**os.environ, **here, **self.environment, **more}

    def items(self) -> list[ItemRow]:
        """Every item of every run, with all the ledger holds on it, oldest first."""
        with self.worker.ledger.read() as session:
            ids = [item.id for run_id in run_ids(session) for item in run_items(session, run_id)]
            return item_evidence(session, ids)

    def leftovers(self) -> list[Path]:
        """Files under the results that are nobody's result."""
        return [path for path in self.out.rglob("*") if path.is_file() and path.name.startswith(".")]


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prefect server for the whole session; this process uses it from here on."""
    home = tmp_path_factory.mktemp("prefect")
    os.environ["PREFECT_HOME"] = str(home)
    with PrivateServer() as server:
        server.wait()
        use_server(server.api_url, private=True)
        yield server.api_url
        del os.environ["PREFECT_API_URL"]


@pytest.fixture
def quiet_archive(tmp_path: Path) -> Archive:
    """The same for what needs no Prefect."""
    return Archive(
        tmp_path, StoreUrls(db=f"sqlite:///{tmp_path / 'ledger.sqlite3'}", store=str(tmp_path / "store"))
    )


@pytest.fixture
def archive(tmp_path: Path, prefect_api: str) -> Archive:
    """A fresh place on SQLite and a folder."""
    return Archive(
        tmp_path, StoreUrls(db=f"sqlite:///{tmp_path / 'ledger.sqlite3'}", store=str(tmp_path / "store"))
    )
