"""`deepsound models`: lists, checks and downloads the models that backends need."""

import typer

from console.cli.models import check_command, list_command, pull_command

app = typer.Typer(no_args_is_help=True)
app.command("list")(list_command.list_models)
app.command("check")(check_command.check_models)
app.command("pull")(pull_command.pull_models)
