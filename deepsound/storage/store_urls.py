"""Opens the artifact store of a path or URL."""

from deepsound.errors import BadSettingsError, DeepSoundError
from deepsound.storage.folder_store import FolderStore
from deepsound.storage.location import location
from deepsound.storage.protocol import ArtifactStore


def open_store(url: str) -> ArtifactStore:
    """Open a store in a folder (`/path`, `file:///path`) or at any other location (`s3://bucket[/prefix]`).

    Connects to nothing. Raises DeepSoundError (BAD_SETTINGS) for a URL that is not valid, and for a location whose
    settings are missing or not usable.
    """
    if not url.strip() or "\0" in url:
        raise BadSettingsError(
            "the store's URL is empty or not valid", remedy="give a folder, or s3://bucket/prefix"
        )
    try:
        place = location(url)
    except DeepSoundError as error:
        raise error.renamed(f"store {error.where}".strip()) from error
    if place.path is not None:
        return FolderStore(place.path.expanduser())
    # Imported here: a folder store needs neither, and pydantic-settings takes 0.1 s to import.
    from deepsound.storage.environment import CacheSettings, from_environment
    from deepsound.storage.remote_store import RemoteStore

    return RemoteStore(place, from_environment(CacheSettings))
