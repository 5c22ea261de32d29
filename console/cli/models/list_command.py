"""`deepsound models list`: what each model is for, where it comes from, and what its licence allows."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from console.cli import options
from console.cli.models.model_selection import Names, selected_models
from console.cli.terminal import out, plain_table, write_json
from deepsound.canonical_json import Json
from deepsound.errors import DeepSoundError
from deepsound.models.local import KnownModel, find_file, models_folder

_COMMERCIAL = {True: "yes", False: Text("no", "red"), None: Text("ask", "yellow")}


def list_models(names: Names = None, *, as_json: options.Json = False) -> None:
    """List all models, those that ship inside packages first; with NAME, list their files too."""
    models = selected_models(names)
    if as_json:
        write_json({"models": [_model_json(model) for model in models]})
        return
    out.print(_models_table(models))
    if names:
        out.print(_files_table(models))
    out.print(f"Files that do not ship inside packages belong in {models_folder()}", style="dim")


def _models_table(models: Iterable[KnownModel]) -> Table:
    table = plain_table("model", "purpose", "here", "size", "licence", "commercial use", "source")
    for model in models:
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


def _files_table(models: Iterable[KnownModel]) -> Table:
    table = plain_table("file", "bytes", "SHA-256")
    for file in (file for model in models for file in model.files):
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
    """Of all files, as they are on this machine or as published; a dash where neither is known."""
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
        "needs": list(model.needs),
        "source": model.source,
        "package": model.package,
    }
