"""`deepsound audit verify`: checks rows, artifacts and seals against their hashes and signatures."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from console.cli import options
from console.cli.audit.run_selection import selected_runs
from console.cli.setting_flags import with_setting_flags
from console.cli.terminal import EXIT_DONE, EXIT_SOME_FAILED, out, say, write_json
from db.integrity.verify import IntegrityFinding
from deepsound.canonical_json import Json
from deepsound.terminal_text import terminal_safe
from tasks.operations.run_audit import RunAudit, verify_books, verify_seals
from tasks.operations.sealing import PUBLIC, kept_seals, trusted_keys
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import open_existing_worker


@with_setting_flags
def verify(
    runs: options.Runs = None,
    *,
    rows: Annotated[bool, typer.Option("--rows", help="Check rows alone; read no artifact.")] = False,
    seals: Annotated[
        Path | None,
        typer.Option(help="A file that `audit seals` printed: seals it holds must still be in the ledger."),
    ] = None,
    stores: StoreUrls,
    as_json: options.Json = False,
) -> None:
    """Find every row and artifact that was changed, removed or added. Exit code 1 if there is any."""
    worker = open_existing_worker(stores)
    seal_findings = verify_seals(worker, [] if seals is None else kept_seals(seals))
    run_ids = selected_runs(worker, runs, may_be_none=bool(seal_findings))
    audits = {run_id: verify_books(worker, run_id, rows_only=rows) for run_id in run_ids}
    if as_json:
        audits_json = [_audit_json(run_id, audit) for run_id, audit in audits.items()]
        write_json({"runs": audits_json, "seals": [_finding_json(finding) for finding in seal_findings]})
    else:
        for run_id, audit in audits.items():
            _show_audit(run_id, audit)
        for finding in seal_findings:
            out.print(Text(f"{finding.row} {finding.problem}: {finding.detail}", style="red"))
        _note_unsealed(audits.values())
    found_any = seal_findings or any(audit.findings for audit in audits.values())
    raise typer.Exit(EXIT_SOME_FAILED if found_any else EXIT_DONE)


def _show_audit(run_id: str, audit: RunAudit) -> None:
    for finding in audit.findings:
        item = "" if finding.item_id is None else f"item {finding.item_id}, "
        line = f"{run_id}: {item}{finding.row} {finding.problem}: {finding.detail}"
        out.print(Text(terminal_safe(line), style="red"))
    result = f"{len(audit.findings)} findings" if audit.findings else "everything is as it was written"
    expired = f"; {audit.expired} of them deleted by retention" if audit.expired else ""
    out.print(Text(f"run {run_id}: {result}; {audit.artifacts or 'no'} artifacts checked{expired}"))


def _note_unsealed(audits: Collection[RunAudit]) -> None:
    sealed = sum(audit.is_sealed for audit in audits)
    if sealed < len(audits):
        say(f"{len(audits) - sealed} of {len(audits)} runs have no current seal: see docs/guides/audit.md")
    if sealed and not trusted_keys():
        say(f"nobody checked who signed the seals: {PUBLIC} names no key")


def _audit_json(run_id: str, audit: RunAudit) -> Json:
    return {
        "run": run_id,
        "findings": [_finding_json(finding) for finding in audit.findings],
        "artifacts": audit.artifacts,
        "expired": audit.expired,
        "is_sealed": audit.is_sealed,
    }


def _finding_json(finding: IntegrityFinding) -> Json:
    return {"item": finding.item_id, "row": finding.row, "problem": finding.problem, "detail": finding.detail}
