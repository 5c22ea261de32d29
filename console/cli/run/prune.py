"""`deepsound run prune`: deletes intermediates of videos that ended long ago."""

from datetime import timedelta
from typing import Annotated

import typer

from console.cli.setting_flags import with_setting_flags
from console.cli.terminal import out
from tasks.operations.retention import prune
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import open_existing_worker


@with_setting_flags
def prune_store(
    *,
    older_than_days: Annotated[
        float, typer.Option(min=0.0, help="Delete what belongs to videos that ended at least so many days ago.")
    ],
    stores: StoreUrls,
) -> None:
    """Delete intermediates and copies of sources from the store; results and the ledger stay."""
    pruned = prune(open_existing_worker(stores), timedelta(days=older_than_days))
    out.print(f"deleted {pruned.intermediates} intermediates and {pruned.sources} copies of sources")
