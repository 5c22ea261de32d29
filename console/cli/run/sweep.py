"""`deepsound run sweep`: cleans up after killed processes now, instead of when the schedule does."""

from datetime import timedelta
from typing import Annotated

import typer

from console.cli.run.prefect_client import ask, reach_server
from console.cli.setting_flags import with_setting_flags
from console.cli.terminal import out
from flows.prefect_server import configured_server
from tasks.operations.retention import UNFINISHED, sweep_orphans, sweep_unfinished
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import open_existing_worker


@with_setting_flags
def sweep(
    *,
    older_than_hours: Annotated[
        float, typer.Option(min=0.0, help="Delete unfinished files at least so many hours old.")
    ] = UNFINISHED / timedelta(hours=1),
    orphans: Annotated[
        bool,
        typer.Option(
            "--orphans",
            help="Also delete artifacts that the ledger does not name; no other ledger may use the store.",
        ),
    ] = False,
    stores: StoreUrls,
) -> None:
    """Restart the flows of runs that lost theirs, and delete files that killed processes left unfinished."""
    worker = open_existing_worker(stores)
    older_than = timedelta(hours=older_than_hours)
    swept = sweep_unfinished(worker, older_than)
    out.print(f"{swept.store} unfinished files deleted from the store")
    out.print(f"{swept.results} unfinished files deleted from output folders")
    if orphans:
        out.print(f"{sweep_orphans(worker, older_than)} orphans deleted from the store")
    if configured_server() is None:
        return
    reach_server()
    # Imported here: Prefect takes seconds to import and reads its settings, which `reach_server` sets, only once.
    from flows.supervisor import sweep_runs

    restarted = ask(sweep_runs(worker))
    out.print(f"{len(restarted)} runs restarted" + "".join(f"\n{run}" for run in restarted), markup=False)
