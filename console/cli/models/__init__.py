"""`deepsound models list` and `check`: what each model is for, what its licence allows, is it here and whole."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from console.cli.models.pull_command import pull_models
from console.cli.terminal import EXIT_DONE, EXIT_SOME_FAILED, complain, err, out
from deepsound.canonical_json import Json
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.models.local import (
    KnownModel,
    find_faults,
    find_file,
    known_model,
    known_models,
    models_folder,
)

app = typer.Typer(no_args_is_help=True)
app.command("pull")(pull_models)

_COMMERCIAL = {True: "yes", False: Text("no", "red"), None: Text("ask", "yellow")}

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Models; all, where none is named.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.callback()
def models() -> None:
    """The models: what they need, what their licences allow."""


@app.command("list")
def list_models(names: Names = None, as_json: AsJson = False) -> None:
    """List every model that can be used, embedded ones first; of named ones, all files."""
    chosen = _chosen(names)
    if as_json:
        _write_json([_model_json(model) for model in chosen])
        return
    out.print(_table_of_models(chosen))
    if names:
        out.print(_table_of_files(chosen))
    out.print(f"Files that do not ship inside packages are looked for in {models_folder()}", style="dim")


@app.command("check")
def check_models(names: Names = None, as_json: AsJson = False) -> None:
    """Read every file and hold it against the official one. A model that is not here is a fault if it is named."""
    chosen = _chosen(names)
    found: list[tuple[KnownModel, str, Sequence[DeepSoundError]]] = []
    for model in chosen:
        with err.status(Text(f"reading {model.name}")):
            found.append((model, *_state(model, is_wanted=bool(names))))
    if as_json:
        _write_json([_checked_json(*one) for one in found])
    else:
        out.print(_table_of_states(found))
        for fault in (fault for _, _, faults in found for fault in faults):
            complain(fault)
    raise typer.Exit(EXIT_SOME_FAILED if any(faults for _, _, faults in found) else EXIT_DONE)


def _chosen(names: list[str] | None) -> Sequence[KnownModel]:
    return [known_model(name) for name in dict.fromkeys(names)] if names else known_models()


def _state(model: KnownModel, *, is_wanted: bool) -> tuple[str, Sequence[DeepSoundError]]:
    """What to say of a model, and its faults."""
    faults = list(find_faults(model))
    if not faults:
        is_known = model.package is not None or all(file.sha256 for file in model.files)
        return "whole" if is_known else "here", ()
    is_absent = model.package is None and _are_missing(faults) and len(faults) == len(model.files)
    if is_absent:
        return "not here", faults if is_wanted else ()
    return "faulty", faults


def _are_missing(faults: Iterable[DeepSoundError]) -> bool:
    return all(fault.code is ErrorCode.MODEL_MISSING for fault in faults)


_STATES = {
    "whole": Text("whole", "green"),
    "here": Text("here, no official hash is known", "yellow"),
    "not here": "not here",
    "faulty": Text("faulty", "red"),
}


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    return table


def _table_of_states(found: Iterable[tuple[KnownModel, str, Sequence[DeepSoundError]]]) -> Table:
    table = _table("model", "state", "files")
    for model, state, _ in found:
        table.add_row(model.name, _STATES[state], ", ".join(file.path for file in model.files))
    return table


def _table_of_models(chosen: Iterable[KnownModel]) -> Table:
    table = _table("model", "what for", "here", "size", "licence", "commercial use", "from")
    for model in chosen:
        table.add_row(
            model.name,
            model.purpose,
            Text("yes", "green") if _is_here(model) else "no",
            _size(model),
            model.licence,
            _COMMERCIAL[model.commercial_use],
            model.package or model.source,
        )
    return table


def _table_of_files(chosen: Iterable[KnownModel]) -> Table:
    table = _table("file", "bytes", "SHA-256")
    for file in (file for model in chosen for file in model.files):
        table.add_row(file.path, f"{file.size:,}" if file.size else "–", file.sha256 or "–")
    return table


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


def _write_json(chosen: list[Json]) -> None:
    out.file.write(json.dumps({"models": chosen}, ensure_ascii=False) + "\n")


def _model_json(model: KnownModel) -> Json:
    return {
        "name": model.name,
        "purpose": model.purpose,
        "here": _is_here(model),
        "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in model.files],
        "licence": model.licence,
        "commercial_use": model.commercial_use,
        "needs": list(model.needs),
        "source": model.source,
        "package": model.package,
    }


def _checked_json(model: KnownModel, state: str, faults: Iterable[DeepSoundError]) -> Json:
    complaints: list[Json] = [
        {"code": fault.code.value, "what": fault.what, "where": fault.where, "remedy": fault.remedy}
        for fault in faults
    ]
    return {"name": model.name, "state": state, "faults": complaints}
