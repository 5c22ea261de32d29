"""Continues a run: on workers if it was submitted to them, otherwise in this process, as `deepsound dub` does."""

import typer

from console.cli.live_progress import showing_progress
from console.cli.run.prefect_client import ask, reach_server
from console.cli.run_summary import show_errors, summary_table
from console.cli.terminal import EXIT_SOME_FAILED, out, say
from db.read.run_state import find_submission
from flows.local_run import drive_run
from tasks.operations.run_activity import stop_reason, unfinished_items
from tasks.operations.run_results import read_results
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import Worker


def continue_run(worker: Worker, stores: StoreUrls, run_id: str) -> None:
    """Start work on the open items of a run. Raises DeepSoundError (ENGINE_*).

    Ends the command with EXIT_SOME_FAILED if the run is paused or cancelled, or if an item that this process
    worked on failed.
    """
    if (why := stop_reason(worker, run_id)) is not None:
        say(why)
        raise typer.Exit(EXIT_SOME_FAILED)
    with worker.ledger.read() as session:
        was_submitted = find_submission(session, run_id) is not None
    if not was_submitted:
        _drive(worker, stores, run_id)
        return
    reach_server()
    # Imported here: Prefect takes seconds to import and reads its settings, which `reach_server` sets, only once.
    from flows.supervisor import ensure_followed

    ask(ensure_followed(worker, run_id))
    say(f"`deepsound run watch {run_id}` follows it")


def _drive(worker: Worker, stores: StoreUrls, run_id: str) -> None:
    items = frozenset(unfinished_items(worker, run_id))
    with showing_progress(len(items)):
        drive_run(worker, stores, run_id, say)
    results = read_results(worker, run_id)
    show_errors(results)
    out.print(summary_table(results))
    if any(result.is_failure for result in results if result.item in items):
        raise typer.Exit(EXIT_SOME_FAILED)
