"""From the URL of a store to the store."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from deepsound.errors import BadSettingsError
from deepsound.storage.folder_store import FolderStore
from deepsound.storage.protocol import ArtifactStore

_REMEDY = "give a folder, file:///folder, or s3://bucket/prefix"


def open_store(url: str) -> ArtifactStore:
    """A folder (`/path`, `file:///path`) or a bucket (`s3://bucket[/prefix]`), which nothing is asked of yet.

    Raises DeepSoundError BAD_SETTINGS for any other URL, and for a bucket whose `DEEPSOUND_S3_*` are unusable.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "s3":
        return _bucket(rest)
    if separator and scheme == "file":
        return FolderStore(_folder_of(url))
    if separator or not url.strip() or "\0" in url:
        raise BadSettingsError("the store's URL is of no known kind", remedy=_REMEDY)
    return FolderStore(Path(url).expanduser())


def _folder_of(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path or parts.query or parts.fragment:
        raise BadSettingsError("the store's URL names no local folder", remedy=_REMEDY)
    return Path(unquote(parts.path))


def _bucket(rest: str) -> ArtifactStore:
    # Here, since a folder store needs neither the client nor the time its import takes.
    from deepsound.storage.s3_settings import CacheSettings, S3Settings, from_environment
    from deepsound.storage.s3_store import S3Store

    bucket, _, prefix = rest.partition("/")
    if "@" in bucket:  # s3://key:secret@bucket: refused before anything can quote it
        raise BadSettingsError(
            "credentials do not belong into a store's URL",
            remedy="set DEEPSOUND_S3_ACCESS_KEY and DEEPSOUND_S3_SECRET_KEY",
        )
    settings, cache = from_environment(S3Settings), from_environment(CacheSettings)
    return S3Store(bucket, prefix.removesuffix("/"), settings, cache)
