"""`deepsound run sweep`: clear up after what was killed, now rather than when its schedule comes."""

from datetime import timedelta
from typing import Annotated

import typer

from console.cli import options
from console.cli.run.prefect_client import ask, reach_server
from console.cli.run.run_lookup import place_of
from console.cli.terminal import out
from flows.prefect_server import configured_server
from tasks.operations.retention import UNFINISHED, sweep_orphans, sweep_unfinished


def sweep(
    older_than_hours: Annotated[
        float, typer.Option(min=0.0, help="Unfinished files are rests after so long.")
    ] = UNFINISHED / timedelta(hours=1),
    orphans: Annotated[
        bool,
        typer.Option("--orphans", help="Delete what the ledger does not know; no other ledger may use the store."),
    ] = False,
    db: options.Db = None,
    store: options.Store = None,
) -> None:
    """Have runs followed again whose follower vanished, and remove what killed writers left half-written."""
    _, worker = place_of(db, store)
    older_than = timedelta(hours=older_than_hours)
    swept = sweep_unfinished(worker, older_than)
    out.print(f"{swept.store} unfinished files removed from the store")
    out.print(f"{swept.results} unfinished files removed from folders of results")
    if orphans:
        out.print(f"{sweep_orphans(worker, older_than)} orphans deleted from the store")
    if configured_server() is None:
        return
    reach_server()
    # Only now: Prefect takes seconds to import, and reads its settings once.
    from flows.supervisor import sweep_runs

    taken_up = ask(sweep_runs(worker))
    out.print(f"{len(taken_up)} runs taken up again" + "".join(f"\n{run}" for run in taken_up), markup=False)
