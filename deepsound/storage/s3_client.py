"""The connection to an S3 server: its pool, time limits, and repetition with jitter."""

import os
from datetime import datetime
from functools import cache
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials.providers import Provider
from minio.datatypes import Upload
from urllib3.util import Retry, Timeout

from deepsound.errors import BadSettingsError
from deepsound.storage.blob_folder import is_sha256
from deepsound.storage.environment import from_environment
from deepsound.storage.s3_settings import S3Settings, credentials

_CONNECTIONS = 32
_CONNECT_TIMEOUT = 10.0  # seconds; where connecting takes longer, nothing is there
_FIRST_WAIT, _LONGEST_WAIT, _JITTER = 0.5, 10.0, 0.5  # seconds; waits double up to the longest
_VARIABLES = ("DEEPSOUND_S3_", "AWS_", "MINIO_", "SSL_CERT_FILE")
_BUSY_OR_BROKEN = (429, 500, 502, 503, 504)


class S3Client(Minio):
    """minio's client with our retries, and with the calls on unfinished uploads that minio does not publish.

    `server` is the host and port, `patience` how often and after which waits a request is repeated.
    """

    def __init__(self, settings: S3Settings, provider: Provider) -> None:
        """Raises DeepSoundError (BAD_SETTINGS) for an address or a region that can't be used."""
        address = urlsplit(settings.endpoint)
        self.server = address.netloc
        self.patience = _patience(settings)
        try:
            super().__init__(
                address.netloc,
                secure=address.scheme == "https",
                region=settings.region,
                credentials=provider,
                http_client=_pool(settings, self.patience),
            )
        except ValueError as error:
            remedy = "check DEEPSOUND_S3_ENDPOINT and DEEPSOUND_S3_REGION"
            raise BadSettingsError(str(error), remedy=remedy) from None

    def abort_uploads(self, bucket: str, prefix: str, before: datetime) -> int:
        """Abort uploads of artifacts in parts that began before a time and never ended, and return how many."""
        aborted, last_key, more = 0, None, True
        while more:
            page = self._list_multipart_uploads(bucket, prefix=prefix, key_marker=last_key)
            for upload in filter(lambda upload: _is_abandoned(upload, before), page.uploads):
                self._abort_multipart_upload(bucket, upload.object_name, str(upload.upload_id))
                aborted += 1
            last_key, more = page.next_key_marker, page.is_truncated
        return aborted


def connect() -> S3Client:
    """The client of this process for `DEEPSOUND_S3_*`; all locations share its pool of connections.

    Connects to nothing. Raises DeepSoundError (BAD_SETTINGS).
    """
    # Reading the settings takes milliseconds, so it is done again only after a change of the environment.
    return _client(tuple(item for item in os.environ.items() if item[0].upper().startswith(_VARIABLES)))


@cache
def _client(environment: tuple[tuple[str, str], ...]) -> S3Client:  # noqa: ARG001 - the key of the cache
    settings = from_environment(S3Settings)
    return S3Client(settings, credentials(settings))


def _is_abandoned(upload: Upload, before: datetime) -> bool:
    # The bucket may have other users: only uploads that are named like artifacts are ours.
    is_artifact = is_sha256(upload.object_name.rpartition("/")[2])
    return is_artifact and upload.initiated_time is not None and upload.initiated_time < before


def _patience(settings: S3Settings) -> Retry:
    # Every kind of request is repeated: putting the same bytes, or deleting, twice does no harm.
    return Retry(
        total=settings.retries,
        allowed_methods=None,
        redirect=False,
        status_forcelist=_BUSY_OR_BROKEN,
        backoff_factor=_FIRST_WAIT / 2,
        backoff_max=_LONGEST_WAIT,
        backoff_jitter=_JITTER,
        retry_after_max=int(_LONGEST_WAIT),
    )


def _pool(settings: S3Settings, patience: Retry) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        timeout=Timeout(connect=min(_CONNECT_TIMEOUT, settings.timeout), read=settings.timeout),
        retries=patience,
        maxsize=_CONNECTIONS,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )
