"""Address and credentials of the S3 server, from environment variables alone."""

from typing import Annotated
from urllib.parse import urlsplit

from minio.credentials.providers import (
    ChainedProvider,
    EnvAWSProvider,
    EnvMinioProvider,
    Provider,
    StaticProvider,
)
from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from deepsound.errors import BadSettingsError, DeepSoundError


def _server_address(text: str) -> str:
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http or https address")
    if "@" in parts.netloc:
        raise ValueError("an address must not hold credentials")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must end with the host and port; bucket and prefix go into the store's URL")
    return f"{parts.scheme}://{parts.netloc}"


class S3Settings(BaseSettings):
    """`DEEPSOUND_S3_*`: address, region and credentials of the server, and limits.

    `timeout` is the longest time in seconds for a connection attempt and for each wait for bytes; `retries` is how
    often a request is repeated after a fault of the network or the server.
    """

    model_config = SettingsConfigDict(env_prefix="DEEPSOUND_S3_", frozen=True, hide_input_in_errors=True)

    endpoint: Annotated[str, AfterValidator(_server_address)]
    region: str | None = None
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0
    retries: Annotated[int, Field(ge=0, le=20)] = 5


def credentials(settings: S3Settings) -> Provider:
    """`DEEPSOUND_S3_ACCESS_KEY` and `_SECRET_KEY`, otherwise the AWS or MinIO variables as minio reads them.

    Raises DeepSoundError (BAD_SETTINGS) if there are none, or only one of a pair.
    """
    access, secret = settings.access_key, settings.secret_key
    if (access is None) != (secret is None):
        raise _no_credentials("only one of DEEPSOUND_S3_ACCESS_KEY and DEEPSOUND_S3_SECRET_KEY is set")
    try:
        if access is not None and secret is not None:
            return StaticProvider(access.get_secret_value(), secret.get_secret_value())
        provider = ChainedProvider([EnvAWSProvider(), EnvMinioProvider()])
        provider.retrieve()
    except ValueError:
        raise _no_credentials("the environment has no credentials for the bucket") from None
    return provider


def _no_credentials(what: str) -> DeepSoundError:
    remedy = "set DEEPSOUND_S3_ACCESS_KEY and DEEPSOUND_S3_SECRET_KEY"
    return BadSettingsError(what, remedy=remedy)
