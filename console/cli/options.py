"""Arguments and options, other than settings, that several commands take."""

from typing import Annotated

import typer

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT", help="Video file, folder, .csv or .jsonl list, or s3://bucket/prefix."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or the beginning of one.")]
Runs = Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Ids of runs; every run by default.")]
Reason = Annotated[str | None, typer.Option(help="The reason, kept in the ledger.")]
