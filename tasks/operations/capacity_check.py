"""Checks before a run starts that its results and intermediates fit where they go."""

from collections.abc import Iterable

from db.schema.run_records import NewItem
from deepsound.errors import DiskFullError
from deepsound.storage.location import Location, location
from deepsound.storage.protocol import ArtifactStore
from tasks.runtime.time_range import range_of

_SOUND_BYTES_PER_SECOND = 3 * 48_000 * 2 * 4
"""Of stereo at 48 kHz, in float or 24 bits: coarse audio, one stem, and what is published."""

_GIGABYTE = 10**9


def check_room(items: Iterable[NewItem], store: ArtifactStore, out: Location) -> None:
    """Raise DeepSoundError (DISK_FULL) if these videos, their results and intermediates will not fit.

    A location that does not know its free space is not checked. The estimate is made from sizes and durations, and
    is generous.
    """
    items = list(items)
    sizes = {item.video.sha256: item.video.size for item in items if item.video}
    sources = sum(size for sha256, size in sizes.items() if not store.has(sha256))
    shares = [(item, _share(item)) for item in items if item.video]
    pictures = sum(share * item.video.size for item, share in shares if item.video)
    excerpts = sum(share * item.video.size for item, share in shares if item.video and range_of(item.overrides))
    sounds = sum(_duration(item) * share for item, share in shares) * _SOUND_BYTES_PER_SECOND
    # The store will hold each picture as source, as excerpt if the item is one, and under its new sound.
    _check(location(store.url), int(sources + excerpts + pictures + sounds), "the store")
    _check(out, int(pictures + sounds / 2), "the results")


def _check(place: Location, needed: int, what: str) -> None:
    free = place.free_bytes()
    if free is None or needed <= free:
        return
    raise DiskFullError(
        f"{what} may need {needed / _GIGABYTE:.1f} GB and {max(0, free) / _GIGABYTE:.1f} GB are free",
        where=str(place),
        remedy="make room, or submit fewer videos at once",
    )


def _share(item: NewItem) -> float:
    """The share of its video that an item covers, 0 to 1."""
    part = range_of(item.overrides)
    return 1.0 if part is None else part.share(_duration(item))


def _duration(item: NewItem) -> float:
    """Seconds, as probed; 0 for a file that could not be probed, for which no sound is made."""
    probed = (item.video.probe or {}) if item.video else {}
    return float(str(probed.get("duration") or 0.0))
