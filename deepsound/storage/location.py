"""Parses a path or URL into a `Location`.

A URL's scheme chooses the kind of location: an entry point of the group `deepsound.locations` whose name is the
scheme and whose value is a callable from URL text to a `Location`. A text without a scheme is a path.
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import cast

from deepsound.plugins import load_plugin
from deepsound.storage.file_location import FileLocation
from deepsound.storage.protocol import Location

__all__ = ["Location", "location"]

LOCATIONS = "deepsound.locations"
"""Entry-point group of the kinds of location."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")


def location(text: str | Path, folder: Location | None = None) -> Location:
    """Parse a path, or a URL such as `s3://bucket/key`; a relative path is one below `folder` if that is given.

    Raises DeepSoundError (BAD_SETTINGS) for a scheme that no installed package adds, and for a URL that is not
    valid or holds credentials.
    """
    # A Path never matches: it has no "//".
    if (scheme := _SCHEME.match(str(text))) is not None:
        return _kind(scheme[1])(str(text))
    path = Path(text)
    return FileLocation(path) if folder is None or path.is_absolute() else folder / str(path)


@cache
def _kind(scheme: str) -> Callable[[str], Location]:
    return cast(Callable[[str], Location], load_plugin(LOCATIONS, scheme))
