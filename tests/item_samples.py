"""Items to test on that come from no ledger."""

from pathlib import Path
from typing import Any

from deepsound.pipeline import VoicePolicy
from deepsound.storage.location import Location, location
from tasks.runtime.item import Item
from tasks.runtime.run_settings import RunSettings


def an_item(out: Location | Path, **settings: Any) -> Item:
    """An unfinished item `reel`, with the embedded backends unless `settings` says otherwise."""
    return Item(
        run_id="run",
        id=1,
        name="reel",
        source=location("/archive/reel.mov"),
        video_sha256=None,
        settings=RunSettings(**{"voice": VoicePolicy.ALL, "out": out, **settings}),
    )
