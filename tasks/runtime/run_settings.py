"""The settings of a run. Each field of `RunSettings` is the only place that declares one.

From a field come the flag of `deepsound dub` and `deepsound run submit` with its help, choices and default, the
variable DEEPSOUND_NAME, the key in deepsound.toml, the key in the ledger, and, where its traits say so, the column
of a list. A run freezes its settings when it is registered. A run that was registered before a field existed gets
the field's default, so the default of a new field must keep what the program did before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationError

from deepsound.backends import EMBEDDED, GENERATORS, REASONERS, SEPARATORS
from deepsound.canonical_json import Json
from deepsound.errors import BadSettingsError
from deepsound.media.loudness_standards import STANDARDS, LoudnessTarget
from deepsound.models.licences import LicencePolicy
from deepsound.pipeline import Fallback, Policy, VoicePolicy
from deepsound.storage.location import Location, location
from deepsound.terminal_text import json_safe
from tasks.runtime import time_range
from tasks.runtime.setting_traits import SettingTraits, fault_text, traits_of

_LONGEST_SHOWN = 40


class PlanSource(StrEnum):
    """Where the plan of a run comes from."""

    CONSTANT = "constant"
    """The protocol's four steps; no model is asked."""
    MODEL = "model"
    """The reasoner, which is asked about every video."""


class SilenceJudge(StrEnum):
    """What decides whether removing the voice left silence. The measurement is always made."""

    MEASURED = "measured"
    """The measurement; the reasoner is not asked."""
    BOTH = "both"
    """The measurement; the reasoner is asked too, and its answer is recorded."""
    MODEL = "model"
    """The reasoner; the measurement where the reasoner's answer can't be parsed."""


def _output_location(value: Location | Path | str) -> Location:
    """An absolute location, so that it means the same in whatever folder a worker runs."""
    given = location(str(value)).absolute()
    if json_safe(given) != str(given):
        raise ValueError(f"the name of {json_safe(given)} is not valid UTF-8")
    return given


def _loudness_target(value: object) -> object:
    """Runs and settings files from before there was a choice say true (EBU R 128) or false."""
    return {"true": LoudnessTarget.EBU_R128, "false": LoudnessTarget.NONE}.get(str(value).lower(), value)


_LOUDNESS_CHOICES = " ".join(
    f"{name}: {goal.lufs:g} LUFS ±{goal.tolerance_lu:g}, true peak at most {goal.true_peak_dbtp:g} dBTP."
    for name, goal in STANDARDS.items()
)


class RunSettings(BaseModel, frozen=True, extra="forbid"):
    """The settings of one run."""

    out: Annotated[
        Location, PlainValidator(_output_location), PlainSerializer(str), SettingTraits(short_flag="-o")
    ] = Field(
        default=Path("deepsound-out"),
        validate_default=True,
        description="Where results go: a folder, or s3://bucket/prefix.",
    )
    generator: Annotated[str, SettingTraits(backends=GENERATORS, is_column=True)] = Field(
        default=EMBEDDED[GENERATORS], description="Backend that generates the sound."
    )
    reasoner: Annotated[str, SettingTraits(backends=REASONERS)] = Field(
        default=EMBEDDED[REASONERS],
        description="Backend that judges whether the sound holds voice-over; several names, separated by commas, "
        "are asked together.",
    )
    separator: Annotated[str, SettingTraits(backends=SEPARATORS)] = Field(
        default=EMBEDDED[SEPARATORS], description="Backend that removes the voice."
    )
    fallback: Fallback = Field(
        default=Fallback.NEG,
        description="What to do where removing the voice leaves silence. neg: generate again, with human voice in "
        "the negative prompt. rep: publish the sound as generated, with its voice. rm: publish no sound.",
    )
    voice: VoicePolicy = Field(
        default=VoicePolicy.VOICE_OVER,
        description="Which voices to remove. voice-over: those of people who are not in the picture. all: every "
        "voice, as a music-and-effects track needs.",
    )
    prompt: Annotated[str, SettingTraits(is_column=True)] = Field(
        default="", description="What the generated sound should contain."
    )
    negative_prompt: Annotated[str, SettingTraits(is_column=True)] = Field(
        default="", description="What the generated sound should not contain."
    )
    seed: Annotated[int, SettingTraits(is_column=True)] = Field(
        default=42,
        ge=0,
        lt=2**63,
        description="Seed of the generator's noise: the same seed gives the same sound.",
    )
    loudness: Annotated[
        LoudnessTarget, BeforeValidator(_loudness_target), SettingTraits(off=LoudnessTarget.NONE)
    ] = Field(
        default=LoudnessTarget.EBU_R128,
        description=f"Loudness of the published sound. {_LOUDNESS_CHOICES} none: levels stay as generated.",
    )
    licence: LicencePolicy = Field(
        default=LicencePolicy.ANY,
        description="Which model weights a run may use. any: all. commercial: those whose licence allows "
        "commercial use.",
    )
    plan: PlanSource = Field(
        default=PlanSource.CONSTANT,
        description="Where the plan of the steps comes from. constant: the protocol; no model is asked. model: "
        "the reasoner, asked about every video.",
    )
    silence: SilenceJudge = Field(
        default=SilenceJudge.MEASURED,
        description="What decides whether removing the voice left silence. measured: the measured level. both: "
        "the measured level; the reasoner's answer is recorded too. model: the reasoner's answer.",
    )
    windows: bool = Field(
        default=False,
        description="Ask the reasoner about windows of four seconds too, and remove the voice only in those where "
        "it finds voice-over.",
    )

    @property
    def policy(self) -> Policy:
        """The settings that steer the decision table."""
        return Policy(self.fallback, self.voice)

    def with_overrides(self, overrides: Mapping[str, Json]) -> "RunSettings":
        """The settings of one item, which its row of the list may change. Raises DeepSoundError (BAD_SETTINGS)."""
        named: dict[str, Any] = {
            name: value for name, value in overrides.items() if name not in time_range.COLUMNS
        }
        _check_known(named)
        try:
            return type(self).model_validate({**dict(self), **named})
        except ValidationError:
            # The steps of this item fail on the value. Refusing it here would keep all others from loading.
            return self.model_copy(update=named)

    def to_json(self) -> dict[str, Json]:
        """The settings as the ledger freezes them."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, frozen: Mapping[str, Json]) -> "RunSettings":
        """The settings that the ledger froze. Raises DeepSoundError (BAD_SETTINGS)."""
        _check_known(frozen)
        try:
            return cls.model_validate(frozen)
        except ValidationError as error:
            raise BadSettingsError(f"the run's settings can't be read: {_first_fault(error)}") from error


COLUMNS = frozenset(name for name, each in RunSettings.model_fields.items() if traits_of(each).is_column)
"""The settings that a column of a list may set for one video."""


def read_overrides(row: Mapping[str, object]) -> dict[str, Json]:
    """The settings that a row of a list gives, as `RunSettings.with_overrides` takes them. Raises ValueError."""
    given: dict[str, Any] = {name: str(row[name]) for name in COLUMNS if row.get(name) not in (None, "")}
    try:
        settings = RunSettings(**given)
    except ValidationError as error:
        raise ValueError(_first_fault(error)) from error
    return settings.model_dump(mode="json", include=set(given))


def _first_fault(error: ValidationError) -> str:
    [first, *_] = error.errors(include_url=False)
    return f"the {first['loc'][0]} {str(first['input'])[:_LONGEST_SHOWN]!r} is wrong: {fault_text(first['msg'])}"


def _check_known(settings: Mapping[str, Json]) -> None:
    if unknown := sorted(settings.keys() - RunSettings.model_fields.keys()):
        raise BadSettingsError(
            f"this version of DeepSound does not know the run's setting {unknown[0]!r}",
            remedy="use the version that registered the run, or a later one",
        )


@dataclass(frozen=True, slots=True)
class Source:
    """A video as the user named it, the name of its results, and the settings that differ from the run's.

    `row`: the place in the list that names it, for messages.
    """

    location: Location
    output_name: str
    overrides: Mapping[str, Json]
    row: str = field(default="", compare=False)
