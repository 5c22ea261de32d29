"""`deepsound models list`: what each model is for, whether it is here, and what its licence allows."""

import json
from typing import Annotated

import typer
from rich.table import Table

from console.terminal import out
from deepsound.canonical import Json
from deepsound.errors import DeepSoundError
from deepsound.models import KnownModel, find_file, known_models, models_folder

app = typer.Typer(no_args_is_help=True)

_COMMERCIAL = {True: "yes", False: "[red]no[/]", None: "[yellow]ask[/]"}


@app.callback()
def models() -> None:
    """The models: what they need, what their licences allow."""


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """List every model that can be used, embedded ones first."""
    if as_json:
        out.file.write(json.dumps({"models": [_model_json(model) for model in known_models()]}) + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "what for", "here", "size", "licence", "commercial use", "from"):
        table.add_column(heading)
    for model in known_models():
        table.add_row(
            model.name,
            model.purpose,
            "[green]yes[/]" if _is_here(model) else "no",
            _size(model),
            model.licence,
            _COMMERCIAL[model.commercial_use],
            model.package or model.source,
        )
    out.print(table)
    out.print(f"Files that do not ship inside packages are looked for in {models_folder()}", style="dim")


def _is_here(model: KnownModel) -> bool:
    try:
        for file in model.files:
            find_file(model, file)
    except DeepSoundError:
        return False
    return True


def _size(model: KnownModel) -> str:
    """Of all files, on this machine or as published; a dash where nobody says."""
    if _is_here(model):
        total = sum(find_file(model, file).stat().st_size for file in model.files)
    elif all(file.size is not None for file in model.files):
        total = sum(file.size or 0 for file in model.files)
    else:
        return "–"
    return f"{total / 1e9:.1f} GB" if total >= 1e9 else f"{total / 1e6:.1f} MB"


def _model_json(model: KnownModel) -> Json:
    return {
        "name": model.name,
        "purpose": model.purpose,
        "here": _is_here(model),
        "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in model.files],
        "licence": model.licence,
        "commercial_use": model.commercial_use,
        "source": model.source,
        "package": model.package,
    }
