"""`deepsound doctor`: is everything here that a run needs, and if not, what to do."""

import importlib.metadata
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from console.cli.settings import Settings, settings_from
from console.cli.terminal import EXIT_DONE, EXIT_SOME_FAILED, out
from db.schema.database import open_ledger
from deepsound.backends import load_generator, load_reasoner, load_separator
from deepsound.errors import DeepSoundError
from deepsound.storage.protocol import Location
from deepsound.storage.store_urls import open_store
from flows.prefect_server import check_server, configured_server

_ROOM_WANTED = 2 * 2**30
_TELLING = ("torch", "prefect", "fastapi", "av", "decord", "onnxruntime", "sqlalchemy", "minio", "soundfile")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: `trouble` is one line that ends in a remedy, None where all is well."""

    what: str
    detail: str
    trouble: str | None = None


def doctor() -> None:
    """Check this installation: packages, weights, ledger, store, workflow engine, disk."""
    settings = settings_from()
    findings = list(examine(settings))
    out.print(findings_table(findings))
    raise typer.Exit(EXIT_SOME_FAILED if any(finding.trouble for finding in findings) else EXIT_DONE)


def findings_table(findings: Iterable[Check]) -> Table:
    """For people: a line for each, and below it what to do where all is not well."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        is_well = finding.trouble is None
        table.add_row(Text("ok", "green") if is_well else Text("no", "red"), finding.what, finding.detail)
        if finding.trouble is not None:
            table.add_row("", "", Text(finding.trouble, "red"))
    return table


def examine(settings: Settings) -> Iterator[Check]:
    """Every check, one after the other; none stops the others."""
    yield Check("python", sys.version.split()[0])
    yield _packages()
    for kind, name, load in (
        ("generator", settings.generator, load_generator),
        ("reasoner", settings.reasoner, load_reasoner),
        ("separator", settings.separator, load_separator),
    ):
        yield _trying(f"{kind} {name}", lambda load=load, name=name: _weights(load(name).models))
    yield _trying("ledger", lambda: _ledger(settings.db))
    yield _trying("store", lambda: _store(settings.store))
    yield _engine()
    yield _free_space(settings.out_place)


def _trying(what: str, check: Callable[[], str]) -> Check:
    try:
        return Check(what, check())
    except DeepSoundError as error:
        return Check(what, "", str(error))


def _packages() -> Check:
    versions: list[str] = []
    missing: list[str] = []
    for name in _TELLING:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    trouble = f"not installed: {', '.join(missing)}; run `make install`" if missing else None
    return Check("packages", ", ".join(versions), trouble)


def _weights(models: object) -> str:
    names = [f"{model.name} ({model.licence})" for model in models] if isinstance(models, list | tuple) else []
    return ", ".join(names) or "no weights: procedural"


def _ledger(url: str) -> str:
    ledger = open_ledger(url)
    ledger.close()
    return ledger.url


def _store(url: str) -> str:
    """Writes a blob and reads it back."""
    store = open_store(url)
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe"
        probe.write_bytes(b"deepsound doctor was here\n")
        kept = store.put(probe, "text/plain")
    with store.local(kept.sha256):
        return store.url


def _engine() -> Check:
    """Imports Prefect's server in a process of its own: a wrong FastAPI shows only there."""
    if (url := configured_server()) is not None:
        return _trying("workflow engine", lambda: _standing_server(url))
    tried = subprocess.run(
        [sys.executable, "-c", "import prefect.server.api.server"], capture_output=True, text=True, check=False
    )
    if tried.returncode == 0:
        return Check("workflow engine", "a private Prefect server, started when needed")
    last = tried.stderr.strip().rpartition("\n")[2]
    remedy = "install with the constraints: `pip install -c constraints.txt .`"
    return Check("workflow engine", "", f"Prefect's server can't be imported: {last}; {remedy}")


def _standing_server(url: str) -> str:
    check_server(url)
    return f"Prefect at {url}"


def _free_space(out_place: Location) -> Check:
    try:
        free = out_place.free_bytes()
    except DeepSoundError as error:
        return Check("disk", "", str(error))
    if free is None:
        return Check("disk", f"{out_place} does not report its free space")
    trouble = None if free >= _ROOM_WANTED else f"{out_place}: less than 2 GiB free; make room, or change -o"
    return Check("disk", f"{free / 2**30:.0f} GiB free at {out_place}", trouble)
