"""The connection to an S3 server: its pool, time limits, and repetition with jitter."""

import os
from datetime import datetime
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.datatypes import Upload
from urllib3.util import Retry, Timeout

from deepsound.errors import BadSettingsError
from deepsound.storage.blob_folder import is_sha256
from deepsound.storage.s3_settings import S3Settings, credentials

_CONNECTIONS = 32
_CONNECT_TIMEOUT = 10.0  # seconds; where connecting takes longer, nothing is there
_FIRST_WAIT, _LONGEST_WAIT, _JITTER = 0.5, 10.0, 0.5  # seconds; waits double up to the longest
_BUSY_OR_BROKEN = (429, 500, 502, 503, 504)


class S3Client(Minio):
    """minio's client with our patience, and with the calls on unfinished uploads that it keeps to itself.

    Raises DeepSoundError BAD_SETTINGS for an address, a region or credentials it can't use.
    """

    def __init__(self, settings: S3Settings) -> None:
        address = urlsplit(settings.endpoint)
        try:
            super().__init__(
                address.netloc,
                secure=address.scheme == "https",
                region=settings.region,
                credentials=credentials(settings),
                http_client=_pool(settings),
            )
        except ValueError as error:
            remedy = "check DEEPSOUND_S3_ENDPOINT and DEEPSOUND_S3_REGION"
            raise BadSettingsError(str(error), remedy=remedy) from None

    def abort_uploads(self, bucket: str, prefix: str, before: datetime) -> int:
        """Drop uploads of artifacts in parts that began before a time and never ended; how many."""
        aborted, last_key, more = 0, None, True
        while more:
            page = self._list_multipart_uploads(bucket, prefix=prefix, key_marker=last_key)
            for upload in filter(lambda upload: _is_abandoned(upload, before), page.uploads):
                self._abort_multipart_upload(bucket, upload.object_name, str(upload.upload_id))
                aborted += 1
            last_key, more = page.next_key_marker, page.is_truncated
        return aborted


def _is_abandoned(upload: Upload, before: datetime) -> bool:
    # The bucket may have other users, whose uploads are none of our business.
    is_artifact = is_sha256(upload.object_name.rpartition("/")[2])
    return is_artifact and upload.initiated_time is not None and upload.initiated_time < before


def patience(settings: S3Settings) -> Retry:
    """How often and after which waits a request is repeated, every kind of request alike.

    Repeating is safe for all of them: an object's key is the hash of its bytes.
    """
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


def _pool(settings: S3Settings) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        timeout=Timeout(connect=min(_CONNECT_TIMEOUT, settings.timeout), read=settings.timeout),
        retries=patience(settings),
        maxsize=_CONNECTIONS,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )
