"""Options that several commands take; `None` stands for not given."""

from typing import Annotated

import typer

from deepsound.models.licences import LicencePolicy
from deepsound.pipeline import Fallback, VoicePolicy
from tasks.runtime.run_settings import PlanSource, SilenceJudge

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Video file, folder, .csv/.jsonl list, s3://bucket/prefix."),
]
Out = Annotated[str | None, typer.Option("-o", "--out", help="Where results go: a folder, or s3://bucket/prefix.")]
Generator = Annotated[str | None, typer.Option(help="Makes the coarse audio.")]
Reasoner = Annotated[
    str | None, typer.Option(help="Plans, and judges whether there is voice-over. Several: with commas.")
]
Separator = Annotated[str | None, typer.Option(help="Takes the voice out.")]
FallbackMode = Annotated[
    Fallback | None, typer.Option(help="Where nothing is left: generate again, put back, or nothing out.")
]
Voice = Annotated[VoicePolicy | None, typer.Option(help="Which voices go: off-screen ones, or all.")]
Prompt = Annotated[str | None, typer.Option(help="What should be heard.")]
NegativePrompt = Annotated[str | None, typer.Option(help="What should not be heard.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same sound.")]
Loudness = Annotated[
    bool | None, typer.Option("--loudness/--no-loudness", help="EBU R 128 (-23 LUFS), or levels as they are.")
]
Licence = Annotated[
    LicencePolicy | None, typer.Option(help="Weights of any licence, or of those that allow commercial use.")
]
Plan = Annotated[
    PlanSource | None, typer.Option(help="The protocol's plan, or the reasoner's, who is then asked.")
]
Silence = Annotated[
    SilenceJudge | None,
    typer.Option(
        help="Who says that nothing is left: what is measured, that with the reasoner beside, the reasoner."
    ),
]
Windows = Annotated[
    bool | None,
    typer.Option(
        "--windows/--no-windows",
        help="Ask of every four seconds whether the voice-over is there; touch only that.",
    ),
]
Db = Annotated[str | None, typer.Option(help="URL of the ledger's database.")]
Store = Annotated[str | None, typer.Option(help="Artifact store: a folder, or s3://bucket/prefix.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or how it begins.")]
Reason = Annotated[str | None, typer.Option(help="Why; kept in the ledger.")]
