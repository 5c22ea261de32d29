"""Settings of storage that come from environment variables: reading them, the local cache, the quota."""

import os
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deepsound.errors import BadSettingsError
from deepsound.user_dirs import cache_folder

_Settings = TypeVar("_Settings", bound=BaseSettings)

_QUOTA = "DEEPSOUND_STORE_QUOTA_GB"
_GIGABYTE = 10**9


class CacheSettings(BaseSettings):
    """`DEEPSOUND_CACHE_*`: the folder for local copies of remote artifacts, and its bound in 10⁹ bytes."""

    model_config = SettingsConfigDict(env_prefix="DEEPSOUND_CACHE_", frozen=True)

    folder: Path = Field(default_factory=lambda: cache_folder() / "artifacts")
    gb: Annotated[float, Field(gt=0)] = 20.0

    @property
    def limit(self) -> int:
        """The bound in bytes."""
        return int(self.gb * _GIGABYTE)


def from_environment(settings: type[_Settings]) -> _Settings:
    """Read settings from the environment.

    Raises DeepSoundError (BAD_SETTINGS) that names the variable and never quotes its value.
    """
    try:
        return settings()
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        variable = f"{settings.model_config.get('env_prefix')}{fault['loc'][0]}".upper()
        what = "is not set" if fault["type"] == "missing" else fault["msg"].removeprefix("Value error, ")
        remedy = "see docs/reference/stores.md for the variables of a bucket"
        raise BadSettingsError(what, where=variable, remedy=remedy) from None


def quota_bytes() -> int | None:
    """`DEEPSOUND_STORE_QUOTA_GB` in bytes; None if it is not set. Raises DeepSoundError (BAD_SETTINGS)."""
    text = os.environ.get(_QUOTA)
    if not text:
        return None
    try:
        return int(float(text) * _GIGABYTE)
    except (ValueError, OverflowError):
        raise BadSettingsError(f"{text!r} is not a number", where=_QUOTA, remedy="give 10⁹ bytes") from None
