"""Where a user's files go: the XDG Base Directory Specification's folders that DeepSound uses."""

import os
from pathlib import Path


def data_folder() -> Path:
    """What must not be lost: `$XDG_DATA_HOME/deepsound`, by default `~/.local/share/deepsound`."""
    return _home("XDG_DATA_HOME", ".local/share") / "deepsound"


def cache_folder() -> Path:
    """What can be made again: `$XDG_CACHE_HOME/deepsound`, by default `~/.cache/deepsound`."""
    return _home("XDG_CACHE_HOME", ".cache") / "deepsound"


def state_folder() -> Path:
    """What says what was done: `$XDG_STATE_HOME/deepsound`, by default `~/.local/state/deepsound`."""
    return _home("XDG_STATE_HOME", ".local/state") / "deepsound"


def _home(variable: str, default: str) -> Path:
    named = Path(os.environ.get(variable, ""))
    # The specification: relative paths in these variables are invalid and to be ignored.
    return named if named.is_absolute() else Path.home() / default
