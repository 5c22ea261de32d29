"""`deepsound models check`: reads every file of a model and compares its hash with the official one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import typer
from rich.table import Table
from rich.text import Text

from console.cli import options
from console.cli.models.model_selection import Names, selected_models
from console.cli.terminal import EXIT_DONE, EXIT_SOME_FAILED, complain, err, out, plain_table, write_json
from deepsound.canonical_json import Json
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.models.local import KnownModel, find_faults


class ModelState(StrEnum):
    """What a check found."""

    WHOLE = "whole"
    """Every file is the official one, or ships inside a package."""
    HERE = "here"
    """Every file is here; the official hash of at least one is not known."""
    NOT_HERE = "not here"
    FAULTY = "faulty"


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A model, its state, and the faults that make the command fail."""

    model: KnownModel
    state: ModelState
    faults: Sequence[DeepSoundError]


_STATE_TEXT = {
    ModelState.WHOLE: Text("whole", "green"),
    ModelState.HERE: Text("here, no official hash is known", "yellow"),
    ModelState.NOT_HERE: Text("not here"),
    ModelState.FAULTY: Text("faulty", "red"),
}


def check_models(names: Names = None, *, as_json: options.Json = False) -> None:
    """Compare every file with the official one. A model that is not here is a fault only if NAME names it."""
    checked: list[CheckedModel] = []
    for model in selected_models(names):
        with err.status(Text(f"reading {model.name}")):
            checked.append(_check(model, is_named=bool(names)))
    if as_json:
        write_json({"models": [_checked_json(each) for each in checked]})
    else:
        out.print(_states_table(checked))
        for fault in (fault for each in checked for fault in each.faults):
            complain(fault)
    raise typer.Exit(EXIT_SOME_FAILED if any(each.faults for each in checked) else EXIT_DONE)


def _check(model: KnownModel, *, is_named: bool) -> CheckedModel:
    faults = list(find_faults(model))
    if not faults:
        has_hashes = model.package is not None or all(file.sha256 for file in model.files)
        return CheckedModel(model, ModelState.WHOLE if has_hashes else ModelState.HERE, ())
    are_missing = all(fault.code is ErrorCode.MODEL_MISSING for fault in faults)
    if model.package is None and are_missing and len(faults) == len(model.files):
        return CheckedModel(model, ModelState.NOT_HERE, faults if is_named else ())
    return CheckedModel(model, ModelState.FAULTY, faults)


def _states_table(checked: Iterable[CheckedModel]) -> Table:
    table = plain_table("model", "state", "files")
    for each in checked:
        table.add_row(each.model.name, _STATE_TEXT[each.state], ", ".join(file.path for file in each.model.files))
    return table


def _checked_json(checked: CheckedModel) -> Json:
    faults: list[Json] = [
        {"code": fault.code.value, "what": fault.what, "where": fault.where, "remedy": fault.remedy}
        for fault in checked.faults
    ]
    return {"name": checked.model.name, "state": checked.state, "faults": faults}
