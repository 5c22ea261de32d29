"""What a run was asked to do: frozen when it starts, kept word for word in the ledger."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from deepsound.canonical_json import Json
from deepsound.models.licences import LicencePolicy
from deepsound.pipeline import Fallback, Policy, VoicePolicy
from deepsound.storage.location import Location, location
from tasks.runtime import time_range


class PlanSource(StrEnum):
    """Whose plan a run follows."""

    CONSTANT = "constant"
    """The protocol's own; nobody is asked."""
    MODEL = "model"
    """The reasoner's, asked of every video."""


class SilenceJudge(StrEnum):
    """Who says whether anything is left once the voice is gone. The measurement is made in any case."""

    MEASURED = "measured"
    """The measurement; the reasoner is not asked."""
    BOTH = "both"
    """The measurement; the reasoner is asked too, and what it says is written down."""
    MODEL = "model"
    """The reasoner; the measurement where its words can't be read."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The settings of one run. `out` is where results are delivered; loudness is EBU R 128 or untouched."""

    generator: str
    reasoner: str
    separator: str
    fallback: Fallback
    voice: VoicePolicy
    prompt: str
    negative_prompt: str
    seed: int
    loudness: bool
    out: Location
    # Runs registered before there were these settings have none.
    licence: LicencePolicy = LicencePolicy.ANY
    plan: PlanSource = PlanSource.CONSTANT
    silence: SilenceJudge = SilenceJudge.MEASURED
    windows: bool = False

    @property
    def policy(self) -> Policy:
        """What steers the decision table."""
        return Policy(self.fallback, self.voice)

    def with_overrides(self, overrides: Mapping[str, Json]) -> "RunSettings":
        """The settings of one item: what its line of the list says goes before what the run says."""
        named: dict[str, Any] = {name: told for name, told in overrides.items() if name not in time_range.COLUMNS}
        return replace(self, **named)

    def to_json(self) -> dict[str, Json]:
        """As the ledger keeps it."""
        return {**asdict(self), "out": str(self.out)}

    @classmethod
    def from_json(cls, kept: Mapping[str, Json]) -> "RunSettings":
        """As it was when the run started."""
        values: dict[str, Any] = dict(kept)
        values["fallback"] = Fallback(values["fallback"])
        values["voice"] = VoicePolicy(values["voice"])
        values["out"] = location(values["out"])
        values["licence"] = LicencePolicy(values.get("licence", LicencePolicy.ANY))
        values["plan"] = PlanSource(values.get("plan", PlanSource.CONSTANT))
        values["silence"] = SilenceJudge(values.get("silence", SilenceJudge.MEASURED))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Source:
    """One video as the user named it, where its results go, and what differs from the run's settings.

    `row`: where a list says so, for people.
    """

    location: Location
    output_name: str
    overrides: Mapping[str, Json]
    row: str = field(default="", compare=False)
