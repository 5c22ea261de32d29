"""Files in a bucket under the names people gave them: reels to be read, results to be put beside them.

Artifacts have hashes for names and live in `S3Store`; here an object is called what its owner calls it.
"""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from minio.error import S3Error

from deepsound.errors import SourceMissingError
from deepsound.storage.location import InBucket
from deepsound.storage.s3_client import S3Client
from deepsound.storage.s3_errors import s3_faults
from deepsound.storage.s3_settings import S3Settings, from_environment

_PART = 16 << 20
_HASH = "sha256"
"""User metadata of what we put: lets a result that is already there be told from one that is not."""


def list_files(folder: InBucket) -> Iterator[InBucket]:
    """The object of this key, and every one below it as a folder, in order of keys.

    Raises DeepSoundError (BAD_SETTINGS, STORE_REFUSED, STORE_UNREACHABLE).
    """
    client, server = _connected()
    with s3_faults(str(folder), server):
        for found in client.list_objects(folder.bucket, prefix=folder.key, recursive=True):
            key = found.object_name or ""
            below = not folder.key or key == folder.key or key.startswith(f"{folder.key}/")
            if below and not found.is_dir:
                yield InBucket(folder.bucket, key)


def bytes_used(bucket: InBucket) -> int:
    """Bytes of all objects of a bucket, whatever the key, as its quota counts them.

    Raises DeepSoundError (BAD_SETTINGS, STORE_REFUSED, STORE_UNREACHABLE).
    """
    client, server = _connected()
    with s3_faults(str(bucket), server):
        return sum(found.size or 0 for found in client.list_objects(bucket.bucket, recursive=True))


def download_file(file: InBucket, target: Path) -> None:
    """Write an object's bytes to a file that is not there yet.

    Raises DeepSoundError (SOURCE_MISSING, BAD_SETTINGS, STORE_REFUSED, STORE_UNREACHABLE, DISK_FULL).
    """
    client, server = _connected()
    with s3_faults(str(file), server):
        try:
            client.fget_object(file.bucket, file.key, str(target))
        except S3Error as error:
            if error.code not in ("NoSuchKey", "NoSuchBucket"):
                raise
            raise SourceMissingError(
                "there is no such object", where=str(file), remedy="check bucket and key"
            ) from error


def find_hash(file: InBucket) -> str | None:
    """The hash of what `upload_file` put here; empty for an object that somebody else put, None for no object.

    Raises DeepSoundError (BAD_SETTINGS, STORE_REFUSED, STORE_UNREACHABLE).
    """
    client, server = _connected()
    with s3_faults(str(file), server):
        try:
            metadata = client.stat_object(file.bucket, file.key).metadata or {}
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise
    return metadata.get(f"x-amz-meta-{_HASH}", "")


def read_start(file: InBucket, at_most: int) -> bytes | None:
    """The first bytes of an object, all of a small one; None where there is none.

    Raises DeepSoundError (BAD_SETTINGS, STORE_REFUSED, STORE_UNREACHABLE).
    """
    client, server = _connected()
    with s3_faults(str(file), server):
        try:
            answer = client.get_object(file.bucket, file.key)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise
        try:
            return answer.read(at_most)
        finally:
            answer.close()
            answer.release_conn()


def upload_file(source: Path, file: InBucket, media_type: str, sha256: str) -> None:
    """Put a file of this hash in its place. S3 shows an object only once it is whole.

    Raises DeepSoundError (BAD_SETTINGS, STORE_REFUSED, STORE_UNREACHABLE, DISK_FULL).
    """
    client, server = _connected()
    with s3_faults(str(file), server):
        client.fput_object(
            file.bucket,
            file.key,
            str(source),
            content_type=media_type,
            metadata={_HASH: sha256},
            part_size=_PART,
        )


def delete(file: InBucket) -> None:
    """Remove an object. Raises DeepSoundError (BAD_SETTINGS, STORE_REFUSED, STORE_UNREACHABLE)."""
    client, server = _connected()
    with s3_faults(str(file), server):
        client.remove_object(file.bucket, file.key)


def link_to(file: InBucket) -> str:
    """A URL that shows an object to whoever has it, for as long as S3 allows: 7 days. It holds no secret key.

    Raises DeepSoundError (BAD_SETTINGS, STORE_REFUSED, STORE_UNREACHABLE).
    """
    client, server = _connected()
    with s3_faults(str(file), server):
        return client.presigned_get_object(file.bucket, file.key, expires=timedelta(days=7))


def _connected() -> tuple[S3Client, str]:
    settings = from_environment(S3Settings)
    return _client(settings.endpoint), urlsplit(settings.endpoint).netloc


@cache
def _client(endpoint: str) -> S3Client:  # noqa: ARG001 - what the cache goes by
    # One pool of connections for the thousands of files of an archive.
    return S3Client(from_environment(S3Settings))
