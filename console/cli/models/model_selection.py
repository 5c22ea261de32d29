"""The models that a command is about: the ones named on the command line, or every known one."""

from collections.abc import Sequence
from typing import Annotated

import typer

from deepsound.models.local import KnownModel, known_model, known_models

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Names of models; all by default.")]


def selected_models(names: Sequence[str] | None) -> Sequence[KnownModel]:
    """Each named model once, or all. Raises DeepSoundError (BAD_SETTINGS: there is no such model)."""
    return [known_model(name) for name in dict.fromkeys(names)] if names else known_models()
