"""DeepSound's folders for data, caches and state, by the XDG Base Directory Specification."""

import os
from pathlib import Path


def data_folder() -> Path:
    """Data that must be kept: `$XDG_DATA_HOME/deepsound`, by default `~/.local/share/deepsound`."""
    return _home("XDG_DATA_HOME", ".local/share") / "deepsound"


def cache_folder() -> Path:
    """Files that can be recreated: `$XDG_CACHE_HOME/deepsound`, by default `~/.cache/deepsound`."""
    return _home("XDG_CACHE_HOME", ".cache") / "deepsound"


def state_folder() -> Path:
    """Records of past actions: `$XDG_STATE_HOME/deepsound`, by default `~/.local/state/deepsound`."""
    return _home("XDG_STATE_HOME", ".local/state") / "deepsound"


def _home(variable: str, default: str) -> Path:
    named = Path(os.environ.get(variable, ""))
    # The specification says to ignore relative paths in these variables.
    return named if named.is_absolute() else Path.home() / default
