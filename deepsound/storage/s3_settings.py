"""Where the S3 server is, who we are to it and where local copies go: from the environment alone."""

from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from minio.credentials.providers import (
    ChainedProvider,
    EnvAWSProvider,
    EnvMinioProvider,
    Provider,
    StaticProvider,
)
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deepsound.errors import BadSettingsError, DeepSoundError
from deepsound.user_dirs import cache_folder

_Settings = TypeVar("_Settings", bound=BaseSettings)


def _server_address(text: str) -> str:
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it is no http or https address")
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong into it")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("it must end with the host and port; bucket and prefix go into the store's URL")
    return f"{parts.scheme}://{parts.netloc}"


class S3Settings(BaseSettings):
    """`DEEPSOUND_S3_*`: address of the server, region, credentials, and how patient to be with it.

    `timeout` is what a connection attempt and each wait for bytes may take (seconds); `retries` is how often
    a request is repeated that the network or a fault of the server broke.
    """

    model_config = SettingsConfigDict(env_prefix="DEEPSOUND_S3_", frozen=True, hide_input_in_errors=True)

    endpoint: Annotated[str, AfterValidator(_server_address)]
    region: str | None = None
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0
    retries: Annotated[int, Field(ge=0, le=20)] = 5


class CacheSettings(BaseSettings):
    """`DEEPSOUND_CACHE_*`: the folder for local copies of a bucket's artifacts, and its bound in gigabytes."""

    model_config = SettingsConfigDict(env_prefix="DEEPSOUND_CACHE_", frozen=True)

    folder: Path = Field(default_factory=lambda: cache_folder() / "artifacts")
    gb: Annotated[float, Field(gt=0)] = 20.0


def from_environment(settings: type[_Settings]) -> _Settings:
    """Read settings. Raises DeepSoundError BAD_SETTINGS that names the variable and never quotes its value."""
    try:
        return settings()
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        variable = f"{settings.model_config.get('env_prefix')}{fault['loc'][0]}".upper()
        what = "is not set" if fault["type"] == "missing" else fault["msg"].removeprefix("Value error, ")
        remedy = "see docs/reference/stores.md for the variables of a bucket"
        raise BadSettingsError(what, where=variable, remedy=remedy) from None


def credentials(settings: S3Settings) -> Provider:
    """`DEEPSOUND_S3_ACCESS_KEY`/`_SECRET_KEY`, or else the AWS or MinIO variables, as minio's providers read them.

    Raises DeepSoundError BAD_SETTINGS if there are none, or half of a pair.
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
        raise _no_credentials("the environment holds no credentials for the bucket") from None
    return provider


def _no_credentials(what: str) -> DeepSoundError:
    remedy = "set DEEPSOUND_S3_ACCESS_KEY and DEEPSOUND_S3_SECRET_KEY"
    return BadSettingsError(what, remedy=remedy)
