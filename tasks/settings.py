"""What a run was asked to do: frozen when it starts, kept word for word in the ledger."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from deepsound.artifacts.location import Location, location
from deepsound.canonical import Json
from deepsound.licences import LicencePolicy
from deepsound.pipeline import Fallback, Policy, VoicePolicy


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
    # Runs registered before there was this setting have none.
    licence: LicencePolicy = LicencePolicy.ANY

    @property
    def policy(self) -> Policy:
        """What steers the decision table."""
        return Policy(self.fallback, self.voice)

    def with_overrides(self, overrides: Mapping[str, Json]) -> "RunSettings":
        """The settings of one item: what its line of the list says goes before what the run says."""
        return replace(self, **overrides)  # pyright: ignore[reportArgumentType] - intake checked names and types

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
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Source:
    """One video as the user named it, where its results go, and what differs from the run's settings."""

    location: Location
    output_name: str
    overrides: Mapping[str, Json]
