"""`deepsound run retry`: does failed or named steps again, and the steps that depend on them."""

from typing import Annotated

import typer

from console.cli import options
from console.cli.run.continue_run import continue_run
from console.cli.run.run_lookup import look_up_run
from console.cli.setting_flags import with_setting_flags
from console.cli.terminal import EXIT_DONE, out
from db.write.retries import retry_items
from deepsound.errors import ErrorCode
from deepsound.pipeline import Step
from tasks.runtime.actor import current_actor
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import open_existing_worker


@with_setting_flags
def retry(
    run: options.Run,
    *,
    step: Annotated[
        Step | None, typer.Option(help="Do this step again, even where it succeeded. Default: the failed steps.")
    ] = None,
    error: Annotated[
        ErrorCode | None,
        typer.Option(help="Only videos that failed with this error code.", case_sensitive=False),
    ] = None,
    video: Annotated[
        str | None, typer.Option(metavar="PATTERN", help='Only videos whose name matches, such as "1950s/*".')
    ] = None,
    reason: options.Reason = None,
    stores: StoreUrls,
) -> None:
    """Do failed steps again, and the steps that depend on them; all other finished steps are reused."""
    worker = open_existing_worker(stores)
    run_id = look_up_run(worker, run)
    with worker.ledger.write() as session:
        items = retry_items(
            session,
            run_id,
            step=step,
            error=None if error is None else error.value,
            pattern=video,
            by=current_actor(),
            reason=reason,
        )
    out.print(f"run {run_id}: {len(items)} videos reopened", markup=False)
    if not items:
        raise typer.Exit(EXIT_DONE)
    continue_run(worker, stores, run_id)
