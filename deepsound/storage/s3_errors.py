"""Translates errors of an S3 server, and of the network before it, into DeepSoundError."""

from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    ResponseError,
    SSLError,
)

from deepsound.errors import DeepSoundError, DiskFullError, StoreRefusedError, StoreUnreachableError

# In this order: some of urllib3's classes are subclasses of others.
_REASONS = (
    (NameResolutionError, "its name does not resolve"),
    (NewConnectionError, "it takes no connections"),
    (ConnectTimeoutError, "it does not answer"),
    (ReadTimeoutError, "it stopped answering"),
    (ProtocolError, "the connection broke off"),
    (ResponseError, "it keeps reporting internal errors"),
)
_SERVER_FAULTS = frozenset({"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"})
_FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"})
_REMEDIES = {
    "NoSuchBucket": "create the bucket, or correct the URL",
    "RequestTimeTooSkewed": "set this machine's clock",
}
_CHECK_ACCESS = "check the access key and secret, and the bucket's policy"


@contextmanager
def translate_s3_errors(url: str, server: str) -> Generator[None]:
    """Raise minio's and urllib3's errors as DeepSoundError (STORE_REFUSED, DISK_FULL, STORE_UNREACHABLE).

    `url` is the location's, `server` the host and port. Of the server's answer only the error code is quoted.
    """
    try:
        yield
    except S3Error as error:
        raise _answered(url, str(error.code), error.response.status) from error
    except ServerError as error:
        raise _answered(url, HTTPStatus(error.status_code).phrase, error.status_code) from error
    except (InvalidResponseError, ParseError) as error:
        raise _no_s3(url, server) from error
    except HTTPError as error:
        raise _unreachable(url, server, error) from error


def _answered(url: str, code: str, status: int) -> DeepSoundError:
    what = f"the server refused ({code})"
    if code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE:
        return DiskFullError(what, where=url, remedy="free some space on the server")
    if code in _SERVER_FAULTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        remedy = "try again later, and see the server's log"
        return StoreUnreachableError(f"the server failed ({code})", where=url, remedy=remedy)
    remedy = _REMEDIES.get(code, _CHECK_ACCESS)
    return StoreRefusedError(what, where=url, remedy=remedy)


def _no_s3(url: str, server: str) -> DeepSoundError:
    what = f"what answers at {server} does not speak S3 (a web page, a console, a proxy)"
    return StoreRefusedError(what, where=url, remedy="check DEEPSOUND_S3_ENDPOINT")


def _unreachable(url: str, server: str, error: HTTPError) -> DeepSoundError:
    reason = error.reason if isinstance(error, MaxRetryError) else error
    if isinstance(reason, SSLError):
        remedy = "check http or https in DEEPSOUND_S3_ENDPOINT, and SSL_CERT_FILE for a certificate of your own"
        what = f"no secure connection to {server}"
        return StoreRefusedError(what, where=url, remedy=remedy)
    why = next((text for kind, text in _REASONS if isinstance(reason, kind)), "the connection failed")
    remedy = "check that the server runs and that DEEPSOUND_S3_ENDPOINT names it, then run again"
    what = f"{server} can't be used after repeated tries: {why}"
    return StoreUnreachableError(what, where=url, remedy=remedy)
