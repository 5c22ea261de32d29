"""How the command speaks: progress and complaints on stderr, results on stdout, one line an error."""

import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from deepsound.errors import DeepSoundError
from deepsound.terminal_text import terminal_safe

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2

_WIDE = 240
"""Where output goes to a file or a pipe, nothing is wrapped or cut to the width of a screen nobody has."""


class _PlainConsole(Console):
    """Text is data: nothing in it is markup or an emoji, and what would steer the terminal is spelled."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich has it, but for such text."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text="\n".join(map(terminal_safe, segment.text.split("\n"))))


out = _PlainConsole(width=None if sys.stdout.isatty() else _WIDE)
err = _PlainConsole(stderr=True)


def complain(error: DeepSoundError) -> None:
    """One line, however long: a terminal may wrap it, a log must not."""
    err.print(f"error: {error}", style="red", soft_wrap=True, markup=False)


def say(text: str) -> None:
    """A line about what is going on."""
    err.print(text, style="dim", soft_wrap=True, markup=False)
