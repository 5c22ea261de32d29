"""What a backend is made of, for step keys and for the auditor."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """A set of weights: name, release, SHA-256 of each file, licence (SPDX where it has one)."""

    name: str
    revision: str
    licence: str
    files: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """One frame a reasoner looked at: presentation time in seconds, SHA-256 of its RGB bytes."""

    time: float
    sha256: str
