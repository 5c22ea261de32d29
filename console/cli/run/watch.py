"""`deepsound run watch`: the live status of a run until it ends."""

import time
from typing import Annotated

import typer
from rich.live import Live

from console.cli import options
from console.cli.run.run_lookup import look_up_run
from console.cli.run.status import read_status, status_page
from console.cli.setting_flags import LedgerOnly, with_setting_flags
from console.cli.terminal import EXIT_DONE, EXIT_SOME_FAILED, out, say
from db.read.run_state import RunState
from deepsound.pipeline import OutcomeKind
from tasks.operations.run_activity import stop_reason
from tasks.runtime.worker import open_existing_worker


@with_setting_flags
def watch_run(
    run: options.Run,
    *,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two updates.")] = 2.0,
    stores: LedgerOnly,
) -> None:
    """Follow a run until it ends, or is stopped and its workers leave. Ctrl-C stops watching, not the run."""
    worker = open_existing_worker(stores)
    run_id = look_up_run(worker, run)
    status = read_status(worker, run_id)
    with Live(status_page(status), console=out, auto_refresh=False) as live:
        while not status.has_ended and (status.state is RunState.ACTIVE or status.workers):
            time.sleep(every)
            status = read_status(worker, run_id)
            live.update(status_page(status), refresh=True)
    if not status.has_ended:
        say(stop_reason(worker, run_id) or f"run {run_id} has not ended")
        raise typer.Exit(EXIT_SOME_FAILED)
    raise typer.Exit(EXIT_SOME_FAILED if status.progress.outcomes.get(OutcomeKind.FAILED) else EXIT_DONE)
