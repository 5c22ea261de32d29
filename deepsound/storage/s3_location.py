"""Objects in a bucket of an S3 server (MinIO, Ceph, AWS), under keys chosen by people or the artifact store."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from minio.error import S3Error
from minio.helpers import check_bucket_name
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.response import BaseHTTPResponse

from deepsound.errors import SourceMissingError, StoreRefusedError, StoreUnreachableError
from deepsound.storage.environment import quota_bytes
from deepsound.storage.object_location import ObjectLocation
from deepsound.storage.protocol import FileStat, Location
from deepsound.storage.s3_client import S3Client, connect
from deepsound.storage.s3_errors import translate_s3_errors

_BLOCK = 1 << 17  # bytes; a connection that breaks loses at most one block
_PART = 16 << 20  # bytes; larger files are uploaded in parts, each repeated by itself where the network fails
_LONGEST_KEY = 1024  # bytes of UTF-8, S3's limit
_LINK_EXPIRES = timedelta(days=7)  # S3's limit
_HASH = "sha256"
"""User metadata that `put` sets, so that a result can be compared without reading it."""


class S3Location(ObjectLocation):
    """`s3://bucket/key` on the server that `DEEPSOUND_S3_*` name. Thread-safe."""

    scheme = "s3"
    credentials_remedy = "set DEEPSOUND_S3_ACCESS_KEY and DEEPSOUND_S3_SECRET_KEY"

    @classmethod
    def parse(cls, url: str) -> Self:
        """The location of a URL. Raises DeepSoundError (BAD_SETTINGS), which never quotes credentials."""
        place = super().parse(url)
        place._check_bucket_name(strict=False)
        return place

    def check_usable(self) -> None:
        """Raise DeepSoundError (BAD_SETTINGS) for a name or for `DEEPSOUND_S3_*` that no server can accept."""
        super().check_usable()
        self._check_bucket_name(strict=True)
        if len(self.key.encode()) > _LONGEST_KEY:
            raise self._unusable(f"the key is longer than {_LONGEST_KEY} bytes")
        connect()

    def _check_bucket_name(self, *, strict: bool) -> None:
        try:
            check_bucket_name(self.bucket, strict=strict)
        except ValueError:
            raise self._unusable("no bucket can have this name") from None

    def stat(self) -> FileStat | None:
        """Size and recorded hash; the hash is None for an object that `put` did not write."""
        if not self.key:
            return None
        with self._connected() as client:
            try:
                found = client.stat_object(self.bucket, self.key)
            except S3Error as error:
                if error.code == "NoSuchKey":
                    return None
                raise
        return FileStat(found.size or 0, (found.metadata or {}).get(f"x-amz-meta-{_HASH}"))

    def blocks(self) -> Iterator[bytes]:
        """The bytes of the object; where the connection breaks, a new one goes on at the same byte.

        Raises DeepSoundError (SOURCE_MISSING; STORE_UNREACHABLE too where the object is replaced in between).
        """
        offset, etag = 0, None
        with self._connected() as client:
            patience = client.patience
            while True:
                try:
                    with self._response(client, offset, etag) as response:
                        etag = response.headers.get("etag")
                        for block in response.stream(_BLOCK):
                            offset, patience = offset + len(block), client.patience
                            yield block
                    return
                except MaxRetryError:
                    raise
                except HTTPError as error:
                    patience = patience.increment("GET", self.key, error=error)
                    patience.sleep()

    @contextmanager
    def _response(self, client: S3Client, offset: int, etag: str | None) -> Generator[BaseHTTPResponse]:
        headers: dict[str, str | list[str] | tuple[str]] = {} if etag is None else {"If-Match": etag}
        try:
            response = client.get_object(self.bucket, self.key, offset=offset, request_headers=headers)
        except S3Error as error:
            if error.code in ("NoSuchKey", "NoSuchBucket"):
                remedy = "check bucket and key"
                raise SourceMissingError("there is no such object", where=str(self), remedy=remedy) from error
            if error.code == "PreconditionFailed":
                what = "the object was replaced while it was read"
                raise StoreUnreachableError(what, where=str(self), remedy="run again") from error
            raise
        try:
            yield response
        finally:
            response.close()
            response.release_conn()

    def files(
        self,
        *,
        older_than: timedelta | None = None,
        on_unreadable: Callable[[Location], None] | None = None,  # noqa: ARG002 - a bucket is listed as a whole
    ) -> Iterator[Self]:
        """The object of this key, if there is one, and all objects below it, in the order of their keys."""
        written_before = None if older_than is None else datetime.now(UTC) - older_than
        with self._connected() as client:
            for found in client.list_objects(self.bucket, prefix=self.key, recursive=True):
                place = type(self)(self.bucket, found.object_name or "")
                if found.is_dir or place.relative_to(self) is None:
                    continue
                if written_before is None or (found.last_modified and found.last_modified < written_before):
                    yield place

    def put(self, source: Path, media_type: str, sha256: str) -> None:
        """Upload a file and check that the server shows all of it. S3 shows an object only once it is complete."""
        with self._connected() as client:
            try:
                client.fput_object(
                    self.bucket,
                    self.key,
                    str(source),
                    content_type=media_type,
                    metadata={_HASH: sha256},
                    part_size=_PART,
                )
            except S3Error as error:
                # The last request of an upload in parts, repeated because its answer was lost, finds no upload;
                # the check below tells whether it had worked.
                if error.code != "NoSuchUpload":
                    raise
        if self.stat() != FileStat(source.stat().st_size, sha256):
            raise StoreUnreachableError(
                "the server accepted the file but does not show all of it",
                where=str(self),
                remedy="run again, and see the server's log",
            )

    def delete(self) -> None:
        """Remove the object, if there is one."""
        with self._connected() as client:
            client.remove_object(self.bucket, self.key)

    def sweep(self, older_than: timedelta) -> int:
        """Abort uploads of artifacts in parts that began longer ago and never ended, and return how many.

        The bucket may have other users, so uploads of other names stay.
        """
        with self._connected() as client:
            prefix = f"{self.key}/" if self.key else ""
            return client.abort_uploads(self.bucket, prefix, datetime.now(UTC) - older_than)

    def make_folder(self) -> None:
        """Create the bucket if it does not exist."""
        with self._connected() as client:
            if not client.bucket_exists(self.bucket):
                self._create_bucket(client)

    def _create_bucket(self, client: S3Client) -> None:
        try:
            client.make_bucket(self.bucket)
        except S3Error as error:
            if error.code == "BucketAlreadyOwnedByYou":  # another process was quicker
                return
            raise StoreRefusedError(
                f"the bucket does not exist and may not be created ({error.code})",
                where=str(self),
                remedy="create the bucket, or correct the URL",
            ) from error

    def free_bytes(self) -> int | None:
        """What `DEEPSOUND_STORE_QUOTA_GB` leaves of the bucket; None if it is unset: S3 reports no free space."""
        quota = quota_bytes()
        return None if quota is None else quota - self.bytes_used()

    def bytes_used(self) -> int:
        """Bytes of all objects of the bucket, whatever their keys, as its quota counts them."""
        with self._connected() as client:
            return sum(found.size or 0 for found in client.list_objects(self.bucket, recursive=True))

    def link(self) -> str:
        """A presigned URL that shows the object to whoever has it, for 7 days."""
        with self._connected() as client:
            return client.presigned_get_object(self.bucket, self.key, expires=_LINK_EXPIRES)

    @contextmanager
    def _connected(self) -> Generator[S3Client]:
        if not {".", ".."}.isdisjoint(self.key.split("/")):  # minio's client refuses such keys.
            what, remedy = "an object whose key has a part '.' or '..' can't be accessed", "rename the object"
            raise SourceMissingError(what, where=str(self), remedy=remedy)
        client = connect()
        with translate_s3_errors(str(self), client.server):
            yield client
