"""`deepsound run watch`: where a run stands, drawn again until it ends."""

import time
from typing import Annotated

import typer
from rich.live import Live

from console.cli import options
from console.cli.run.run_lookup import look_up_run, place_of
from console.cli.run.status import read_status, status_page
from console.cli.terminal import EXIT_DONE, EXIT_SOME_FAILED, out, say
from db.write.run_events import RunState
from deepsound.pipeline import OutcomeKind
from tasks.operations.run_activity import stop_reason


def watch_run(
    run: options.Run,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    db: options.Db = None,
) -> None:
    """Follow a run to its end, or until it was stopped and its workers left; leaving does not stop it."""
    _, worker = place_of(db)
    run_id = look_up_run(worker, run)
    status = read_status(worker, run_id)
    with Live(status_page(status), console=out, auto_refresh=False) as live:
        while not status.has_ended and (status.state is RunState.ACTIVE or status.workers):
            time.sleep(every)
            status = read_status(worker, run_id)
            live.update(status_page(status), refresh=True)
    if not status.has_ended:
        say(stop_reason(worker, run_id) or f"run {run_id} goes on")
        raise typer.Exit(EXIT_SOME_FAILED)
    raise typer.Exit(EXIT_SOME_FAILED if status.progress.outcomes.get(OutcomeKind.FAILED) else EXIT_DONE)
