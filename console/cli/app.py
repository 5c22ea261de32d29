"""The `deepsound` command: one module for each subcommand, put together here."""

import sys

import typer

from console.cli import audit, doctor, dub, models, review, run
from console.cli.setting_flags import BackendHelp
from console.cli.terminal import EXIT_INTERRUPTED, EXIT_USAGE, complain
from deepsound.errors import DeepSoundError

app = typer.Typer(
    name="deepsound",
    help="Step-by-step sound for silent and narrated archive video, with an auditable record of every decision.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: boxes leave too little width for the text of options.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("dub", cls=BackendHelp)(dub.dub)
app.command("review")(review.review)
app.command("doctor")(doctor.doctor)
app.add_typer(run.app, name="run", help="Submit archive runs to workers; follow, pause, cancel and retry them.")
app.add_typer(audit.app, name="audit", help="Show what was done to a video and why, and verify the ledger.")
app.add_typer(models.app, name="models", help="List, check and download models.")


def main() -> None:
    """Entry point. Exit codes: 0 all done, 1 some items failed, 2 bad usage or configuration, 130 interrupted."""
    try:
        app()
    except DeepSoundError as error:
        complain(error)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)  # noqa: T201 - rich may be in the middle of a line
        sys.exit(EXIT_INTERRUPTED)
