"""Whether what a run will make fits where it goes, asked before it starts."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from db.schema.records import NewItem
from deepsound.errors import BadSettingsError, DiskFullError
from deepsound.storage.location import InBucket, Location, location
from deepsound.storage.protocol import ArtifactStore
from tasks.runtime.time_range import range_of

_SOUND_BYTES_PER_SECOND = 3 * 48_000 * 2 * 4
"""Of stereo at 48 kHz, in float or 24 bits: coarse audio, one stem, and what is published."""

_GIGABYTE = 10**9


def check_room(items: Iterable[NewItem], store: ArtifactStore, out: Location) -> None:
    """Raise DeepSoundError (DISK_FULL) where these videos, their results and intermediates will not fit.

    A folder is measured by its disk; a bucket by DEEPSOUND_STORE_QUOTA_GB, where that is set, since S3 has no
    question for what is left. The estimate is of sizes and durations, and meant to be generous.
    """
    items = list(items)
    sizes = {item.video.sha256: item.video.size for item in items if item.video}
    sources = sum(size for sha256, size in sizes.items() if not store.has(sha256))
    shares = [(item, _share(item)) for item in items if item.video]
    pictures = sum(share * item.video.size for item, share in shares if item.video)
    excerpts = sum(share * item.video.size for item, share in shares if item.video and range_of(item.overrides))
    sounds = sum(_duration(item) * share for item, share in shares) * _SOUND_BYTES_PER_SECOND
    # The store will hold each picture as source, as excerpt if it is one, and under its new sound.
    _check(_place(store.url), int(sources + excerpts + pictures + sounds), "the store")
    _check(out, int(pictures + sounds / 2), "the results")


def _check(place: Location, needed: int, what: str) -> None:
    free = _left_of_quota(place) if isinstance(place, InBucket) else _free(place)
    if free is None or needed <= free:
        return
    raise DiskFullError(
        f"{what} may need {needed / _GIGABYTE:.1f} GB and {max(0, free) / _GIGABYTE:.1f} GB are free",
        where=str(place),
        remedy="make room, or submit fewer videos at once",
    )


def _place(store: str) -> Location:
    return Path(unquote(urlsplit(store).path)) if store.startswith("file:") else location(store)


def _free(folder: Path) -> int:
    folder = folder.expanduser().absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free


def _left_of_quota(bucket: InBucket) -> int | None:
    asked = os.environ.get("DEEPSOUND_STORE_QUOTA_GB")
    if not asked:
        return None
    try:
        quota = float(asked) * _GIGABYTE
    except ValueError:
        raise BadSettingsError(
            f"{asked!r} is no number",
            where="DEEPSOUND_STORE_QUOTA_GB",
            remedy="give gigabytes",
        ) from None
    # Here, since only buckets need the client and the time its import takes.
    from deepsound.storage.bucket_files import bytes_used

    return int(quota) - bytes_used(bucket)


def _share(item: NewItem) -> float:
    """How much of its video an item is."""
    part = range_of(item.overrides)
    return 1.0 if part is None else part.share(_duration(item))


def _duration(item: NewItem) -> float:
    """Seconds, as probed; a file that could not be probed makes no sound."""
    probed = (item.video.probe or {}) if item.video else {}
    return float(str(probed.get("duration") or 0.0))
