"""Flags over DEEPSOUND_* variables over deepsound.toml over what is written here."""

from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from deepsound.backends import EMBEDDED, GENERATORS, REASONERS, SEPARATORS
from deepsound.errors import BadSettingsError
from deepsound.models.licences import LicencePolicy
from deepsound.pipeline import Fallback, VoicePolicy
from deepsound.storage.location import Location, location
from deepsound.terminal_text import json_safe
from tasks.runtime.run_settings import PlanSource, RunSettings, SilenceJudge
from tasks.runtime.stores import StoreUrls, default_store_urls


class Settings(BaseSettings):
    """Everything `deepsound dub` can be told; each field is a flag, a variable and a key of the file."""

    model_config = SettingsConfigDict(env_prefix="DEEPSOUND_", toml_file="deepsound.toml", extra="forbid")

    out: str = "deepsound-out"
    generator: str = EMBEDDED[GENERATORS]
    reasoner: str = EMBEDDED[REASONERS]
    separator: str = EMBEDDED[SEPARATORS]
    fallback: Fallback = Fallback.NEG
    voice: VoicePolicy = VoicePolicy.VOICE_OVER
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = Field(default=42, ge=0, lt=2**63)
    loudness: bool = True
    licence: LicencePolicy = LicencePolicy.ANY
    plan: PlanSource = PlanSource.CONSTANT
    silence: SilenceJudge = SilenceJudge.MEASURED
    windows: bool = False
    db: str = Field(default_factory=lambda: default_store_urls().db)
    store: str = Field(default_factory=lambda: default_store_urls().store)

    @property
    def place(self) -> StoreUrls:
        """Where the books are kept."""
        return StoreUrls(self.db, self.store)

    @property
    def out_place(self) -> Location:
        """Where results go. Raises DeepSoundError (BAD_SETTINGS)."""
        place = location(self.out).absolute()
        if json_safe(place) != str(place):
            raise BadSettingsError(
                "results can't go where the name is no UTF-8: the run could not keep it",
                where=str(place),
                remedy="rename the folder, or choose another with -o",
            )
        return place

    def for_run(self) -> RunSettings:
        """What the run keeps of it, frozen."""
        return RunSettings(
            generator=self.generator,
            reasoner=self.reasoner,
            separator=self.separator,
            fallback=self.fallback,
            voice=self.voice,
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            seed=self.seed,
            loudness=self.loudness,
            out=self.out_place,
            licence=self.licence,
            plan=self.plan,
            silence=self.silence,
            windows=self.windows,
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
    """Settings with the flags that were given (None: not given). Raises DeepSoundError (BAD_SETTINGS)."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        if first["type"] == "extra_forbidden":
            raise BadSettingsError(
                f"there is no setting {str(first['loc'][0])!r}",
                where="deepsound.toml",
                remedy=f"known are {', '.join(Settings.model_fields)}",
            ) from error
        name = "-".join(str(part) for part in first["loc"]).replace("_", "-")
        raise BadSettingsError(
            first["msg"].lower(),
            where=f"--{name}",
            remedy=f"mend the flag, DEEPSOUND_{name.upper().replace('-', '_')}, or {name} in deepsound.toml",
        ) from error
    except ValueError as error:  # A deepsound.toml that is no TOML.
        raise BadSettingsError(str(error), where="deepsound.toml", remedy="mend or remove the file") from error
