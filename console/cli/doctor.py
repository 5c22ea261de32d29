"""`deepsound doctor`: checks everything that a run needs, and prints a remedy for what is missing."""

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

_LEAST_FREE = 2 * 2**30
_PACKAGES = ("torch", "prefect", "fastapi", "av", "decord", "onnxruntime", "sqlalchemy", "minio", "soundfile")
"""Those whose versions a bug report should state."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `trouble` is one line that ends in a remedy; None means that all is well."""

    what: str
    detail: str
    trouble: str | None = None


def doctor() -> None:
    """Check this installation: packages, model weights, ledger, store, Prefect and free disk space."""
    settings = settings_from()
    checks = list(run_checks(settings))
    out.print(checks_table(checks))
    raise typer.Exit(EXIT_SOME_FAILED if any(check.trouble for check in checks) else EXIT_DONE)


def checks_table(checks: Iterable[Check]) -> Table:
    """One row for each check, followed by its trouble, if any."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in checks:
        table.add_row(
            Text("ok", "green") if check.trouble is None else Text("no", "red"), check.what, check.detail
        )
        if check.trouble is not None:
            table.add_row("", "", Text(check.trouble, "red"))
    return table


def run_checks(settings: Settings) -> Iterator[Check]:
    """All checks in turn. A check that fails does not stop the others."""
    yield Check("python", sys.version.split()[0])
    yield _packages()
    for kind, name, load in (
        ("generator", settings.run.generator, load_generator),
        ("reasoner", settings.run.reasoner, load_reasoner),
        ("separator", settings.run.separator, load_separator),
    ):
        yield _check(f"{kind} {name}", lambda load=load, name=name: _weights(load(name).models))
    yield _check("ledger", lambda: _ledger(settings.stores.db))
    yield _check("store", lambda: _store(settings.stores.store))
    yield _prefect()
    yield _disk(settings.run.out)


def _check(what: str, detail: Callable[[], str]) -> Check:
    try:
        return Check(what, detail())
    except DeepSoundError as error:
        return Check(what, "", str(error))


def _packages() -> Check:
    versions: list[str] = []
    missing: list[str] = []
    for name in _PACKAGES:
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
    """Writes an artifact and reads it back."""
    store = open_store(url)
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe"
        probe.write_bytes(b"deepsound doctor was here\n")
        kept = store.put(probe, "text/plain")
    with store.local(kept.sha256):
        return store.url


def _prefect() -> Check:
    """Imports Prefect's server in a process of its own, because an incompatible FastAPI shows only there."""
    if (url := configured_server()) is not None:
        return _check("Prefect", lambda: _answering_server(url))
    tried = subprocess.run(
        [sys.executable, "-c", "import prefect.server.api.server"], capture_output=True, text=True, check=False
    )
    if tried.returncode == 0:
        return Check("Prefect", "a private server, started when needed")
    last = tried.stderr.strip().rpartition("\n")[2]
    remedy = "install with the constraints: `pip install -c constraints.txt .`"
    return Check("Prefect", "", f"Prefect's server can't be imported: {last}; {remedy}")


def _answering_server(url: str) -> str:
    check_server(url)
    return f"the server at {url}"


def _disk(out: Location) -> Check:
    try:
        free = out.free_bytes()
    except DeepSoundError as error:
        return Check("disk", "", str(error))
    if free is None:
        return Check("disk", f"{out} does not report its free space")
    trouble = None if free >= _LEAST_FREE else f"{out}: less than 2 GiB free; free some, or choose another -o"
    return Check("disk", f"{free / 2**30:.0f} GiB free at {out}", trouble)
