"""`deepsound audit`: what was done to a video and why, and whether the books are in order."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from console.cli.audit.item_export import item_json, item_tree
from console.cli.settings import settings_from
from console.cli.terminal import EXIT_DONE, EXIT_SOME_FAILED, out, say
from db.integrity.reconcile import ItemStatus, ReconciledItem, Reconciliation, reconcile_run
from db.integrity.verify import IntegrityFinding
from db.read.evidence import find_items, item_evidence
from db.read.items import run_ids
from deepsound.canonical_json import Json
from deepsound.errors import BadSettingsError
from deepsound.terminal_text import json_safe, terminal_safe
from tasks.operations.run_activity import no_such_run
from tasks.operations.run_audit import RunAudit, verify_books, verify_seals
from tasks.operations.sealing import PUBLIC, kept_seals, seal_lines, trusted_keys
from tasks.runtime.worker import Worker, open_existing_worker

app = typer.Typer(no_args_is_help=True)

_Runs = Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Ids of runs; all if none is named.")]


@app.callback()
def audit() -> None:
    """What was done to a video and why; whether the books are in order."""


@app.command("show")
def show(
    known: Annotated[str, typer.Argument(help="A run, an item, a file's name, or the SHA-256 of any file.")],
    db: Annotated[str | None, typer.Option(help="URL of the ledger's database.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show everything the ledger holds on a video."""
    settings = settings_from(db=db)
    ledger = open_existing_worker(settings.place).ledger
    with ledger.read() as session:
        items = item_evidence(session, sorted(find_items(session, known)))
    if not items:
        raise BadSettingsError(
            f"nothing is known of {known!r}",
            where=ledger.url,
            remedy="name a run, an item, a source file or a SHA-256, and check --db",
        )
    if as_json:
        out.file.write(json.dumps({"items": [item_json(item) for item in items]}, ensure_ascii=False) + "\n")
        return
    for item in items:
        out.print(item_tree(item))


@app.command("report")
def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids of the runs to show.")],
    target: Annotated[Path, typer.Option("-o", "--out", help="The page to write.")] = Path("report.html"),
    db: Annotated[str | None, typer.Option(help="URL of the ledger's database.")] = None,
    store: Annotated[str | None, typer.Option(help="Artifact store: a folder, or s3://bucket/prefix.")] = None,
) -> None:
    """Write a page to look at, listen to and check."""
    # Only here: writing pages needs jinja, which nothing else here does.
    from tasks.report.build import write_report

    settings = settings_from(db=db, store=store)
    write_report(open_existing_worker(settings.place), runs, target, folder=target.parent)
    say(f"report written to {target}")


@app.command("verify")
def verify(
    runs: _Runs = None,
    db: Annotated[str | None, typer.Option(help="URL of the ledger's database.")] = None,
    store: Annotated[str | None, typer.Option(help="Artifact store: a folder, or s3://bucket/prefix.")] = None,
    rows: Annotated[bool, typer.Option("--rows", help="The ledger's rows alone; no artifact is read.")] = False,
    seals: Annotated[
        Path | None, typer.Option(help="What `audit seals` printed, kept outside the ledger.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Find every row and artifact that was changed, is missing or was added. Exit code 1 if there is any."""
    worker = open_existing_worker(settings_from(db=db, store=store).place)
    of_seals = verify_seals(worker, [] if seals is None else kept_seals(seals))
    known = _known_runs(worker, runs, may_be_none=bool(of_seals))
    books = {run_id: verify_books(worker, run_id, rows_only=rows) for run_id in known}
    if as_json:
        of_runs = [_books_json(run_id, each) for run_id, each in books.items()]
        found = {"runs": of_runs, "seals": [_finding_json(each) for each in of_seals]}
        out.file.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        for run_id, each in books.items():
            _show_books(run_id, each)
        for finding in of_seals:
            out.print(Text(f"{finding.row} {finding.problem}: {finding.detail}", style="red"))
        _note_unsealed([*books.values()])
    found_any = of_seals or any(each.findings for each in books.values())
    raise typer.Exit(EXIT_SOME_FAILED if found_any else EXIT_DONE)


@app.command("seals")
def print_seals(
    db: Annotated[str | None, typer.Option(help="URL of the ledger's database.")] = None,
) -> None:
    """Print every seal, a line of JSON each: kept elsewhere, they show what is taken from the ledger's end."""
    for line in seal_lines(open_existing_worker(settings_from(db=db).place)):
        out.file.write(line + "\n")


@app.command("reconcile")
def reconcile(
    runs: _Runs = None,
    db: Annotated[str | None, typer.Option(help="URL of the ledger's database.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Account for every video of a run. Exit code 1 if one is still open, or something does not add up."""
    worker = open_existing_worker(settings_from(db=db).place)
    with worker.ledger.read() as session:
        known = [(run_id, reconcile_run(session, run_id)) for run_id in _known_runs(worker, runs)]
    reconciled = {run_id: each for run_id, each in known if each is not None}
    if as_json:
        found = {"runs": [_reconciliation_json(run_id, each) for run_id, each in reconciled.items()]}
        out.file.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        for run_id, each in reconciled.items():
            _show_reconciliation(run_id, each)
    raise typer.Exit(EXIT_DONE if all(each.is_clean for each in reconciled.values()) else EXIT_SOME_FAILED)


def _known_runs(worker: Worker, asked: Sequence[str] | None, *, may_be_none: bool = False) -> list[str]:
    with worker.ledger.read() as session:
        known = run_ids(session)
    for run_id in asked or ():
        if run_id not in known:
            raise no_such_run(run_id, worker)
    if not known and not may_be_none:
        what, remedy = "there is no run in this ledger", "check --db and DEEPSOUND_DB"
        raise BadSettingsError(what, where=worker.ledger.url, remedy=remedy)
    return list(asked or known)


def _show_books(run_id: str, books: RunAudit) -> None:
    for finding in books.findings:
        of_item = "" if finding.item_id is None else f"item {finding.item_id}, "
        told = f"{run_id}: {of_item}{finding.row} {finding.problem}: {finding.detail}"
        out.print(Text(terminal_safe(told), style="red"))
    gone = f"; {books.expired} of them deleted by retention" if books.expired else ""
    found = f"{len(books.findings)} findings" if books.findings else "everything is as it was written"
    out.print(Text(f"run {run_id}: {found}; {books.artifacts or 'no'} artifacts checked{gone}"))


def _note_unsealed(books: Sequence[RunAudit]) -> None:
    sealed = sum(each.is_sealed for each in books)
    if sealed < len(books):
        say(f"{len(books) - sealed} of {len(books)} runs have no current seal: see docs/guides/audit.md")
    if sealed and not trusted_keys():
        say(f"whose seals these are is not known: {PUBLIC} names no key")


def _books_json(run_id: str, books: RunAudit) -> Json:
    return {
        "run": run_id,
        "findings": [_finding_json(each) for each in books.findings],
        "artifacts": books.artifacts,
        "expired": books.expired,
        "is_sealed": books.is_sealed,
    }


def _finding_json(finding: IntegrityFinding) -> Json:
    return {"item": finding.item_id, "row": finding.row, "problem": finding.problem, "detail": finding.detail}


def _show_reconciliation(run_id: str, reconciled: Reconciliation) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("video", "status", "why"):
        table.add_column(heading)
    for each in reconciled.items:
        if each.status is not ItemStatus.DONE:
            name, why = terminal_safe(each.item.output_name), each.reason or "–"
            table.add_row(Text(name), each.status.replace("_", " "), Text(terminal_safe(why)))
    if table.row_count:
        out.print(table)
    for problem in reconciled.problems:
        out.print(Text(terminal_safe(problem), style="red"))
    counted = ", ".join(
        f"{number} {status.replace('_', ' ')}" for status, number in reconciled.status_counts.items()
    )
    videos = f"{len(reconciled.items)} video{'s' if len(reconciled.items) != 1 else ''}"
    out.print(Text(f"run {run_id}: {videos}: {counted}"))


def _reconciliation_json(run_id: str, reconciled: Reconciliation) -> Json:
    return {
        "run": run_id,
        "is_clean": reconciled.is_clean,
        "statuses": {str(status): number for status, number in reconciled.status_counts.items()},
        "problems": [json_safe(problem) for problem in reconciled.problems],
        "items": [_item_json(each) for each in reconciled.items],
    }


def _item_json(reconciled: ReconciledItem) -> Json:
    return {
        "item": reconciled.item.id,
        "name": json_safe(reconciled.item.output_name),
        "source": json_safe(reconciled.item.source),
        "status": reconciled.status,
        "reason": reconciled.reason,
    }
