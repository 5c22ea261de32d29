"""How the command speaks: progress and complaints on stderr, results on stdout, one line an error."""

import sys

from rich.console import Console

from deepsound.errors import DeepSoundError

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2

_WIDE = 240
"""Where output goes to a file or a pipe, nothing is wrapped or cut to the width of a screen nobody has."""

out = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
err = Console(stderr=True, highlight=False)


def complain(error: DeepSoundError) -> None:
    """One line, however long: a terminal may wrap it, a log must not."""
    err.print(f"error: {error}", style="red", soft_wrap=True, markup=False)


def say(text: str) -> None:
    """A line about what is going on."""
    err.print(text, style="dim", soft_wrap=True, markup=False)
