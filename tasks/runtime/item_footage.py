"""The footage of an item: decoded once by its plan step, then read from memory or from the artifact store."""

from collections.abc import Sequence
from pathlib import Path

from deepsound.media.decode import decode_video
from deepsound.media.observation_files import load_observations
from deepsound.media.observers import Footage, Observer
from deepsound.media.probe import probe
from deepsound.storage.protocol import ArtifactStore
from tasks.runtime.backend_choice import make_observers
from tasks.runtime.footage_cache import FootageCache
from tasks.runtime.item import PLAN, Item
from tasks.runtime.scratch_folder import scratch_folder
from tasks.runtime.source_access import EXCERPT, cut_part, errors_name_source, open_original, open_video


def decode_footage(item: Item, store: ArtifactStore, cache: FootageCache, excerpt: Path | None = None) -> Footage:
    """Decode the video unless this process has its footage already. Raises DeepSoundError.

    `excerpt` is the file of the item's part where that was cut before.
    """
    observers = make_observers(item.settings)
    return cache.get(_key(item), lambda: _decode(item, store, observers, excerpt))


def load_footage(item: Item, store: ArtifactStore, cache: FootageCache) -> Footage:
    """The footage of an item whose plan step is finished, from memory or the store. Raises DeepSoundError."""
    return cache.get(_key(item), lambda: _restore(item, store))


def evict_footage(item: Item, cache: FootageCache) -> None:
    """Free the memory of an item's footage; the store has what the observers kept."""
    cache.evict(_key(item))


def _decode(item: Item, store: ArtifactStore, observers: Sequence[Observer], excerpt: Path | None) -> Footage:
    if item.part is None:
        with open_original(item, store) as path:
            return decode_video(path, observers)
    with scratch_folder() as scratch:
        if excerpt is None:
            excerpt = scratch / EXCERPT
            cut_part(item, item.part, store, excerpt)
        with errors_name_source(item, excerpt):
            return decode_video(excerpt, observers)


def _restore(item: Item, store: ArtifactStore) -> Footage:
    with store.local(item.artifact(PLAN, "observations").sha256) as path:
        observations = load_observations(path)
    plan = item.done[PLAN].result
    with open_video(item, store) as path:
        info = probe(path)
    return Footage(
        info=info,
        observations=observations,
        decoder=str(plan["decoder"]),
        frames=int(str(plan["frames"])),
        damage=None if plan["damage"] is None else str(plan["damage"]),
    )


def _key(item: Item) -> str:
    # Items of one video share footage where the same observers look at the same part of it.
    return f"{item.run_id}/{item.video_sha256 or item.id}/{item.part}/{item.settings.generator}"
