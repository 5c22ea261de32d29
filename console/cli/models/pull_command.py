"""`deepsound models pull`: downloads a model and what it needs from its publisher into the models folder."""

from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from console.cli.terminal import EXIT_DONE, EXIT_SOME_FAILED, complain, err, say
from deepsound.errors import DeepSoundError
from deepsound.models.licences import restrictions, terms_of
from deepsound.models.local import KnownFile, KnownModel, find_file, known_model, with_needs


def pull_models(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Models to download, with every model that they need.")
    ],
) -> None:
    """Download the files that are not here yet; interrupted downloads resume where they stopped."""
    for name in names:
        known_model(name)
    models = list(dict.fromkeys(model for name in names for model in with_needs(name)))
    for restriction in restrictions(map(terms_of, models)):
        say(restriction)
    is_whole = [_pull(model) for model in models]
    raise typer.Exit(EXIT_DONE if all(is_whole) else EXIT_SOME_FAILED)


def _pull(model: KnownModel) -> bool:
    """Download what is missing of a model. Returns whether all of it is here now; prints errors."""
    # Imported here because no other command talks to publishers.
    from deepsound.models.pull import files_to_pull

    try:
        files = files_to_pull(model)
    except DeepSoundError as error:
        complain(error)
        return False
    if model.whole_release:
        # The last file marks the release as complete, so it may come only after all others.
        return all(_pull_file(model, file) for file in files)
    is_whole = [_pull_file(model, file) for file in files]
    return all(is_whole)


def _pull_file(model: KnownModel, file: KnownFile) -> bool:
    from deepsound.models.pull import pull_file

    try:
        with _progress() as shown:
            task = shown.add_task(file.path, total=file.size)
            fetched = pull_file(model, file, lambda here, of: shown.update(task, completed=here, total=of))
    except DeepSoundError as error:
        complain(error)
        return False
    doubt = "" if model.package or file.sha256 else " (no official hash is known to compare it with)"
    say(f"{find_file(model, file)}: {'downloaded' if fetched else 'already here'}{doubt}")
    return True


def _progress() -> Progress:
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
