"""Output of the command: results on stdout; progress, notes and one line for each error on stderr."""

import json
import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from deepsound.canonical_json import Json
from deepsound.errors import DeepSoundError
from deepsound.terminal_text import terminal_safe

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
"""What shells expect of a command that SIGINT ended."""

_FILE_WIDTH = 240
"""Columns of output that goes to a file or a pipe, so that tables are neither wrapped nor cut there."""


class _PlainConsole(Console):
    """A console that takes text as data: no markup, no emoji, and control characters are spelled out."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich renders it, with control characters in text spelled out."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text="\n".join(map(terminal_safe, segment.text.split("\n"))))


out = _PlainConsole(width=None if sys.stdout.isatty() else _FILE_WIDTH)
err = _PlainConsole(stderr=True)


def complain(error: DeepSoundError) -> None:
    """Print an error on stderr as one line of any length, since logs are read by line."""
    err.print(f"error: {error}", style="red", soft_wrap=True, markup=False)


def say(text: str) -> None:
    """Print a note on stderr as one line."""
    err.print(text, style="dim", soft_wrap=True, markup=False)


def write_json(value: Json) -> None:
    """Print one JSON value as one line on stdout."""
    out.file.write(json.dumps(value, ensure_ascii=False) + "\n")


def plain_table(*headings: str) -> Table:
    """A table without lines, under bold headings."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    return table
