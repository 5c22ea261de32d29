"""Items to test on that come from no ledger."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from deepsound.pipeline import Fallback, VoicePolicy
from deepsound.storage.location import Location, location
from tasks.runtime.item import Item
from tasks.runtime.run_settings import RunSettings


def an_item(out: Location | Path, **settings: Any) -> Item:
    """An unfinished item `reel`, with the embedded backends unless `settings` says otherwise."""
    run_settings = RunSettings(
        "foley", "evidence", "mix-minus", Fallback.NEG, VoicePolicy.ALL, "", "", 42, loudness=True,
        out=location(str(out)),
    )  # fmt: skip
    return Item(
        run_id="run",
        id=1,
        name="reel",
        source=location("/archive/reel.mov"),
        video_sha256=None,
        settings=replace(run_settings, **settings),
    )
