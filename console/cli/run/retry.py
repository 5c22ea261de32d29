"""`deepsound run retry`: failed steps once more, or those that are asked for, and what depends on them."""

from typing import Annotated

import typer

from console.cli import options
from console.cli.run.continue_run import go_on
from console.cli.run.run_lookup import look_up_run, place_of
from console.cli.terminal import EXIT_DONE, out
from db.write.retries import retry_items
from deepsound.errors import ErrorCode
from deepsound.pipeline import Step
from tasks.runtime.actor import current_actor


def retry(
    run: options.Run,
    step: Annotated[Step | None, typer.Option(help="This step, done again even where it succeeded.")] = None,
    error: Annotated[
        ErrorCode | None, typer.Option(help="Only what failed with this code.", case_sensitive=False)
    ] = None,
    video: Annotated[str | None, typer.Option(metavar="PATTERN", help='Only these, such as "1950s/*".')] = None,
    reason: options.Reason = None,
    db: options.Db = None,
    store: options.Store = None,
) -> None:
    """Do failed steps again, and what depends on them; nothing else is done twice."""
    settings, worker = place_of(db, store)
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
    out.print(f"run {run_id}: {len(items)} videos to be taken up again", markup=False)
    if not items:
        raise typer.Exit(EXIT_DONE)
    go_on(worker, settings, run_id)
