"""Live progress for many videos, on stderr; prints plain lines where that is no terminal."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from console.cli.terminal import err
from deepsound.pipeline import OutcomeKind
from flows.progress_events import ProgressEvent, progress_listener

_SHOWN_AT_ONCE = 12


class _Display:
    """One bar for the run, one line for each video in hand."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._whole = progress.add_task("videos", total=total, step="")
        self._lines = {}

    def __call__(self, event: ProgressEvent) -> None:
        if event.outcome is not None:
            self._ended(event.item, event.outcome)
        elif event.item in self._lines:
            self._progress.update(self._lines[event.item], step=event.step)
        elif len(self._lines) < _SHOWN_AT_ONCE:
            self._lines[event.item] = self._progress.add_task(event.item, total=None, step=event.step)

    def _ended(self, item: str, outcome: OutcomeKind) -> None:
        if (line := self._lines.pop(item, None)) is not None:
            self._progress.remove_task(line)
        self._progress.advance(self._whole)
        if outcome is not OutcomeKind.DONE or not err.is_terminal:
            self._progress.console.print(f"{item}: {outcome.replace('_', ' ')}", markup=False, soft_wrap=True)


@contextmanager
def showing_progress(total: int) -> Generator[None]:
    """Show what the flows inside the block report."""
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
