"""How a run goes on: by workers where it was submitted to them, else in this process, as by `deepsound dub`."""

import typer

from console.cli.live_progress import showing_progress
from console.cli.run.prefect_client import ask, reach_server
from console.cli.run_summary import show_errors, summary_table
from console.cli.settings import Settings
from console.cli.terminal import EXIT_SOME_FAILED, out, say
from db.write.run_events import find_submission
from flows.local_run import drive_run
from tasks.operations.run_activity import stop_reason, unfinished_items
from tasks.operations.run_results import read_results
from tasks.runtime.worker import Worker


def go_on(worker: Worker, settings: Settings, run_id: str) -> None:
    """Have the open items of a run done. Raises DeepSoundError (ENGINE_*).

    Ends the command with EXIT_SOME_FAILED where the run is paused or cancelled, or one of them was not brought to
    a good end here.
    """
    if (why := stop_reason(worker, run_id)) is not None:
        say(why)
        raise typer.Exit(EXIT_SOME_FAILED)
    with worker.ledger.read() as session:
        submitted = find_submission(session, run_id) is not None
    if not submitted:
        _drive(worker, settings, run_id)
        return
    reach_server()
    # Only now: Prefect takes seconds to import, and reads its settings once.
    from flows.supervisor import ensure_followed

    ask(ensure_followed(worker, run_id))
    say(f"follow it with `deepsound run watch {run_id}`")


def _drive(worker: Worker, settings: Settings, run_id: str) -> None:
    asked_for = frozenset(unfinished_items(worker, run_id))
    with showing_progress(len(asked_for)):
        drive_run(worker, settings.place, run_id, say)
    results = read_results(worker, run_id)
    show_errors(results)
    out.print(summary_table(results))
    if any(result.is_failure for result in results if result.item in asked_for):
        raise typer.Exit(EXIT_SOME_FAILED)
