"""Reads the settings of a command: flags, then DEEPSOUND_* variables, then deepsound.toml, then defaults."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from deepsound.errors import BadSettingsError
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.setting_traits import fault_text, flag_of, traits_of, variable_of
from tasks.runtime.stores import StoreUrls

_FILE = "deepsound.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """`run` is what a run freezes; `stores` is where this process finds the ledger and the artifact store."""

    run: RunSettings
    stores: StoreUrls


class _AllSettings(BaseSettings, RunSettings, StoreUrls):  # pyright: ignore - pydantic merges their configurations
    """The fields of both models, read from every source."""

    model_config = SettingsConfigDict(
        env_prefix=variable_of(""), toml_file=_FILE, extra="forbid", enable_decoding=False
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of precedence."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def settings_from(**flags: Any) -> Settings:
    """The settings under the flags that were given; None means not given. Raises DeepSoundError (BAD_SETTINGS)."""
    try:
        found = _AllSettings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise _setting_error(error) from error
    except ValueError as error:  # The file is not TOML.
        raise BadSettingsError(str(error), where=_FILE, remedy="correct or remove the file") from error
    return Settings(
        run=RunSettings(**{name: getattr(found, name) for name in RunSettings.model_fields}),
        stores=StoreUrls(**{name: getattr(found, name) for name in StoreUrls.model_fields}),
    )


def _setting_error(error: ValidationError) -> BadSettingsError:
    first = error.errors(include_input=False, include_url=False)[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        known = ", ".join(_AllSettings.model_fields)
        return BadSettingsError(f"there is no setting {name!r}", where=_FILE, remedy=f"known are {known}")
    short = traits_of(_AllSettings.model_fields[name]).short_flag
    flag = flag_of(name) if short is None else f"{short}/{flag_of(name)}"
    return BadSettingsError(
        fault_text(first["msg"]),
        where=flag,
        remedy=f"correct the flag {flag}, the variable {variable_of(name)}, or {name} in {_FILE}",
    )
