"""`deepsound run`: submits archive runs to workers and controls them until the last video has ended."""

import typer

from console.cli.run import control, prune, retry, status, submit, sweep, watch
from console.cli.setting_flags import BackendHelp

app = typer.Typer(no_args_is_help=True)
app.command("submit", cls=BackendHelp)(submit.submit_run)
app.command("list")(status.list_runs)
app.command("status")(status.show_status)
app.command("watch")(watch.watch_run)
app.command("pause")(control.pause)
app.command("resume")(control.resume)
app.command("cancel")(control.cancel)
app.command("retry")(retry.retry)
app.command("sweep")(sweep.sweep)
app.command("prune")(prune.prune_store)
