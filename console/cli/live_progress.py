"""Live progress of many videos on stderr; without a terminal, one plain line for each video that ends."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from console.cli.terminal import err
from deepsound.pipeline import OutcomeKind
from flows.progress_events import ProgressEvent, progress_listener

_MOST_LINES = 12


class _Display:
    """One bar for the run, and one line for each video that is being worked on."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._run = progress.add_task("videos", total=total, step="")
        self._lines = {}

    def __call__(self, event: ProgressEvent) -> None:
        if event.outcome is not None:
            self._end(event.item, event.outcome)
        elif event.item in self._lines:
            self._progress.update(self._lines[event.item], step=event.step)
        elif len(self._lines) < _MOST_LINES:
            self._lines[event.item] = self._progress.add_task(event.item, total=None, step=event.step)

    def _end(self, item: str, outcome: OutcomeKind) -> None:
        if (line := self._lines.pop(item, None)) is not None:
            self._progress.remove_task(line)
        self._progress.advance(self._run)
        if outcome is not OutcomeKind.DONE or not err.is_terminal:
            self._progress.console.print(f"{item}: {outcome.replace('_', ' ')}", markup=False, soft_wrap=True)


@contextmanager
def showing_progress(total: int) -> Generator[None]:
    """Display the progress events of flows that run inside the block, `total` videos in all."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[step]}", style="cyan"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )
    with progress, progress_listener(_Display(progress, total)):
        yield
