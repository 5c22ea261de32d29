"""`deepsound audit`: shows what was done to a video and why, and verifies the ledger."""

import typer

from console.cli.audit import reconcile_command, report_command, seals_command, show_command, verify_command

app = typer.Typer(no_args_is_help=True)
app.command("show")(show_command.show)
app.command("report")(report_command.report)
app.command("verify")(verify_command.verify)
app.command("seals")(seals_command.print_seals)
app.command("reconcile")(reconcile_command.reconcile)
