"""How a run goes on: by workers where it was submitted to them, else in this process, as by `deepsound dub`."""

from console.display import showing_progress
from console.results import summary_table
from console.run.engine import ask, reach_server
from console.settings import Settings
from console.terminal import out, say
from db.control import find_order
from flows.local import drive_run
from tasks.results import read_results
from tasks.run import unfinished_items
from tasks.worker import Worker


def go_on(worker: Worker, settings: Settings, run_id: str) -> None:
    """Have the open items of a run done. Raises DeepSoundError (ENGINE_*)."""
    with worker.ledger.read() as session:
        submitted = find_order(session, run_id) is not None
    if not submitted:
        with showing_progress(len(unfinished_items(worker, run_id))):
            drive_run(worker, settings.place, run_id, say)
        out.print(summary_table(read_results(worker, run_id)))
        return
    reach_server()
    # Only now: Prefect takes seconds to import, and reads its settings once.
    from flows.keeping import ensure_followed

    ask(ensure_followed(worker, run_id))
    say(f"follow it with `deepsound run watch {run_id}`")
