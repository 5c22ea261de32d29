"""Artifacts in a bucket of an S3 server (MinIO, Ceph, AWS), with local copies for the time of their use."""

import hashlib
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from minio.error import S3Error
from minio.helpers import check_bucket_name
from urllib3.exceptions import HTTPError, MaxRetryError

from deepsound.errors import (
    ArtifactMissingError,
    BadSettingsError,
    DeepSoundError,
    StoreRefusedError,
    StoreUnreachableError,
)
from deepsound.storage.blob_folder import Blob, blocks_of, is_sha256
from deepsound.storage.local_copies import LocalCopies
from deepsound.storage.protocol import Artifact
from deepsound.storage.s3_client import S3Client, patience
from deepsound.storage.s3_errors import s3_faults
from deepsound.storage.s3_settings import CacheSettings, S3Settings

_BLOCK = 1 << 17  # what a broken download loses at most
_PART = 16 << 20  # files above this size go in parts, repeated one by one where the network fails
_LONGEST_KEY = 1024  # bytes of UTF-8, S3's limit
_GIGABYTE = 10**9


class S3Store:
    """Artifacts as objects `prefix/aa/bb/<sha256>`. Thread-safe. The bucket is created if it is not there.

    Every method may raise DeepSoundError STORE_UNREACHABLE (after repeated tries), STORE_REFUSED, DISK_FULL.
    """

    def __init__(self, bucket: str, prefix: str, settings: S3Settings, cache: CacheSettings) -> None:
        """Connects to nothing yet. Raises DeepSoundError BAD_SETTINGS for names that no bucket can have."""
        _check_names(bucket, prefix)
        self._bucket, self._folder = bucket, f"{prefix}/" if prefix else ""
        self._server = urlsplit(settings.endpoint).netloc
        self._client = S3Client(settings)
        self._patience = patience(settings)
        self._copies = LocalCopies(cache.folder, int(cache.gb * _GIGABYTE), self.url)
        self._bucket_is_there = False
        self._bucket_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"S3Store({self.url!r})"

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._folder}".removesuffix("/")

    def put(self, source: Path, media_type: str) -> Artifact:
        """Hash a file, then send it unless an object of that hash and size is there.

        What is sent is a local copy that nobody changes, so the bytes are those that were hashed. S3 shows an
        object only once it is complete. Also raises SOURCE_MISSING.
        """
        with self._copies.of_blocks(blocks_of(source)) as copy, s3_faults(self.url, self._server):
            self._need_bucket()
            if self._size(copy.sha256) != copy.size:
                self._send(copy, media_type)
        return Artifact(copy.sha256, copy.size, media_type)

    def has(self, sha256: str) -> bool:
        """Whether an object of this hash is there."""
        with s3_faults(self.url, self._server):
            self._need_bucket()
            return is_sha256(sha256) and self._size(sha256) is not None

    @contextmanager
    def local(self, sha256: str) -> Generator[Path]:
        """A verified local copy, downloaded if need be. Also raises ARTIFACT_MISSING, ARTIFACT_DAMAGED."""
        if not is_sha256(sha256):
            raise self._missing(sha256)
        with self._copies.of_hash(sha256, lambda: self._blocks(sha256)) as path:
            yield path

    def is_intact(self, sha256: str) -> bool:
        """Whether the object is there and has its hash; it is read from the server, whatever copies there are."""
        if not self.has(sha256):
            return False
        digest = hashlib.sha256()
        for block in self._blocks(sha256):
            digest.update(block)
        return digest.hexdigest() == sha256

    def delete(self, sha256: str) -> bool:
        """Remove the object; False where it is not there. Local copies go as others need their room."""
        with s3_faults(self.url, self._server):
            self._need_bucket()
            if not is_sha256(sha256) or self._size(sha256) is None:
                return False
            self._client.remove_object(self._bucket, self._key(sha256))
            return True

    def kept(self, older_than: timedelta) -> Iterator[str]:
        """Hashes of the objects that were put longer than that ago."""
        with s3_faults(self.url, self._server):
            self._need_bucket()
            limit = datetime.now(UTC) - older_than
            for found in self._client.list_objects(self._bucket, prefix=self._folder, recursive=True):
                sha256 = (found.object_name or "").rpartition("/")[2]
                is_ours = is_sha256(sha256) and found.object_name == self._key(sha256)
                if is_ours and found.last_modified is not None and found.last_modified < limit:
                    yield sha256

    def sweep(self, older_than: timedelta) -> int:
        """Drop unfinished uploads that began more than `older_than` ago; how many."""
        with s3_faults(self.url, self._server):
            self._need_bucket()
            return self._client.abort_uploads(self._bucket, self._folder, datetime.now(UTC) - older_than)

    def _key(self, sha256: str) -> str:
        return f"{self._folder}{sha256[:2]}/{sha256[2:4]}/{sha256}"

    def _need_bucket(self) -> None:
        with self._bucket_lock:
            if not self._bucket_is_there and not self._client.bucket_exists(self._bucket):
                self._create_bucket()
            self._bucket_is_there = True

    def _create_bucket(self) -> None:
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            if error.code == "BucketAlreadyOwnedByYou":  # another process was quicker
                return
            raise StoreRefusedError(
                f"the bucket does not exist and may not be created ({error.code})",
                where=self.url,
                remedy="create the bucket, or correct the store's URL",
            ) from error

    def _size(self, sha256: str) -> int | None:
        try:
            return self._client.stat_object(self._bucket, self._key(sha256)).size
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise

    def _send(self, copy: Blob, media_type: str) -> None:
        try:
            self._client.fput_object(
                self._bucket, self._key(copy.sha256), str(copy.path), content_type=media_type, part_size=_PART
            )
        except S3Error as error:
            # The last request of an upload in parts, repeated because its answer was lost, finds no upload:
            # whether it had worked is what the size below tells.
            if error.code != "NoSuchUpload":
                raise
        if self._size(copy.sha256) != copy.size:
            raise StoreUnreachableError(
                f"the server took artifact {copy.sha256} but does not show it whole",
                where=self.url,
                remedy="run again, and see the server's log",
            )

    def _blocks(self, sha256: str) -> Iterator[bytes]:
        """The object's bytes; where the connection breaks, the rest is asked for on a new one."""
        offset, patience = 0, self._patience
        with s3_faults(self.url, self._server):
            self._need_bucket()
            while True:
                try:
                    for block in self._blocks_from(sha256, offset):
                        offset, patience = offset + len(block), self._patience
                        yield block
                    return
                except MaxRetryError:
                    raise
                except HTTPError as error:
                    patience = patience.increment("GET", self._key(sha256), error=error)
                    patience.sleep()

    def _blocks_from(self, sha256: str, offset: int) -> Iterator[bytes]:
        try:
            response = self._client.get_object(self._bucket, self._key(sha256), offset=offset)
        except S3Error as error:
            if error.code == "NoSuchKey":
                raise self._missing(sha256) from error
            raise
        try:
            yield from response.stream(_BLOCK)
        finally:
            response.close()
            response.release_conn()

    def _missing(self, sha256: str) -> DeepSoundError:
        what = f"artifact {sha256} is not in the store"
        remedy = "run the step that makes it again, or restore it from a copy"
        return ArtifactMissingError(what, where=self.url, remedy=remedy)


def _check_names(bucket: str, prefix: str) -> None:
    """Names that no server would mistake for a path of its own; everything printable is fine elsewhere."""
    url = f"s3://{bucket}/{prefix}"
    try:
        check_bucket_name(bucket, strict=True)
        key_bytes = len(prefix.encode()) + len("/aa/bb/") + 64
    except ValueError:
        raise _bad_url(url, "no bucket can have this name") from None
    parts = prefix.split("/") if prefix else []
    if any(part in ("", ".", "..") for part in parts) or not prefix.isprintable() or key_bytes > _LONGEST_KEY:
        raise _bad_url(url, "the prefix is too long or has empty, dotted or unprintable parts")


def _bad_url(url: str, what: str) -> DeepSoundError:
    return BadSettingsError(what, where=ascii(url)[1:-1], remedy="give s3://bucket/prefix")
