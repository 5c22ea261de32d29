"""`deepsound audit reconcile`: the outcome of every video of a run's list."""

import typer
from rich.text import Text

from console.cli import options
from console.cli.audit.run_selection import selected_runs
from console.cli.setting_flags import LedgerOnly, with_setting_flags
from console.cli.terminal import EXIT_DONE, EXIT_SOME_FAILED, out, plain_table, write_json
from db.integrity.reconcile import ItemStatus, ReconciledItem, Reconciliation, reconcile_run
from deepsound.canonical_json import Json
from deepsound.terminal_text import json_safe, terminal_safe
from tasks.runtime.worker import open_existing_worker


@with_setting_flags
def reconcile(runs: options.Runs = None, *, stores: LedgerOnly, as_json: options.Json = False) -> None:
    """Account for every video of a run. Exit code 1 if one has not ended, or if the numbers do not add up."""
    worker = open_existing_worker(stores)
    with worker.ledger.read() as session:
        found = [(run_id, reconcile_run(session, run_id)) for run_id in selected_runs(worker, runs)]
    reconciled = {run_id: each for run_id, each in found if each is not None}
    if as_json:
        write_json({"runs": [_reconciliation_json(run_id, each) for run_id, each in reconciled.items()]})
    else:
        for run_id, each in reconciled.items():
            _show_reconciliation(run_id, each)
    raise typer.Exit(EXIT_DONE if all(each.is_clean for each in reconciled.values()) else EXIT_SOME_FAILED)


def _show_reconciliation(run_id: str, reconciled: Reconciliation) -> None:
    table = plain_table("video", "status", "reason")
    for each in reconciled.items:
        if each.status is not ItemStatus.DONE:
            name, reason = terminal_safe(each.item.output_name), each.reason or "–"
            table.add_row(Text(name), each.status.replace("_", " "), Text(terminal_safe(reason)))
    if table.row_count:
        out.print(table)
    for problem in reconciled.problems:
        out.print(Text(terminal_safe(problem), style="red"))
    counts = ", ".join(
        f"{number} {status.replace('_', ' ')}" for status, number in reconciled.status_counts.items()
    )
    videos = f"{len(reconciled.items)} video{'s' if len(reconciled.items) != 1 else ''}"
    out.print(Text(f"run {run_id}: {videos}: {counts}"))


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
