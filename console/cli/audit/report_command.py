"""`deepsound audit report`: an HTML page of the results of some runs."""

from pathlib import Path
from typing import Annotated

import typer

from console.cli.setting_flags import with_setting_flags
from console.cli.terminal import say
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import open_existing_worker


@with_setting_flags
def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Ids of the runs to show.")],
    *,
    target: Annotated[Path, typer.Option("-o", "--out", help="The HTML file to write.")] = Path("report.html"),
    stores: StoreUrls,
) -> None:
    """Write an HTML page with the results of runs: players, pictures of the sound, and every decision."""
    # Imported here because only this command renders pages with Jinja.
    from tasks.report.build import write_report

    write_report(open_existing_worker(stores), runs, target, folder=target.parent)
    say(f"report written to {target}")
