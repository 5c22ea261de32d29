"""`deepsound run prune`: room made by what nobody needs any more."""

from datetime import timedelta
from typing import Annotated

import typer

from console.cli import options
from console.cli.run.run_lookup import place_of
from console.cli.terminal import out
from tasks.operations.retention import prune


def prune_store(
    older_than_days: Annotated[float, typer.Option(min=0.0, help="Of videos that ended longer ago.")],
    db: options.Db = None,
    store: options.Store = None,
) -> None:
    """Delete intermediates and copies of sources from the store; results and the ledger stay."""
    _, worker = place_of(db, store)
    pruned = prune(worker, timedelta(days=older_than_days))
    out.print(f"deleted {pruned.intermediates} intermediates and {pruned.sources} copies of sources")
