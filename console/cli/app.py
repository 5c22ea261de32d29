"""The `deepsound` command. Each subcommand is a module of this package; this one ties them together."""

import sys

import typer

from console.cli import audit, doctor, dub, models, review, run
from console.cli.terminal import EXIT_USAGE, complain
from deepsound.errors import DeepSoundError

app = typer.Typer(
    name="deepsound",
    help="Step-by-step sound for silent and narrated archive video, with an auditable record of every decision.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("dub")(dub.dub)
app.command("review")(review.review)
app.command("doctor")(doctor.doctor)
app.add_typer(run.app, name="run", help="Archive runs: handed to workers, followed, paused, retried.")
app.add_typer(audit.app, name="audit", help="What was done to a video, and why.")
app.add_typer(models.app, name="models", help="The models: what they need, what their licences allow.")


def main() -> None:
    """Entry point. Exit codes: 0 all done, 1 some items failed, 2 bad usage or configuration."""
    try:
        app()
    except DeepSoundError as error:
        complain(error)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        # Everything finished is in the ledger; 130 is what shells expect of an interrupted command.
        print("stopped; run the same command again to go on where it stopped", file=sys.stderr)  # noqa: T201 - rich may be half through a line
        sys.exit(130)
