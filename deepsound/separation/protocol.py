"""What a separator is asked and answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deepsound.canonical_json import Json
from deepsound.models.identity import ModelIdentity
from deepsound.spans import Span


@dataclass(frozen=True, slots=True)
class SeparationResult:
    """Two stems as written, of the mix's rate, channels and length; voice + background = mix within 1e-6.

    `touched` are the spans where background differs from mix; outside them it is bit-identical.
    """

    touched: tuple[Span, ...]
    notes: Mapping[str, Json]


class Separator(Protocol):
    """One way to split voice from background."""

    name: str
    version: str

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """The weights it runs on."""
        ...

    def separate(self, mix: Path, voice: Path, background: Path, spans: Sequence[Span] | None) -> SeparationResult:
        """Read float WAV `mix`, write float WAV `voice` and `background`.

        Only `spans` are touched, cross-faded at their edges; None is everywhere. Memory does not grow with
        length. Raises DeepSoundError.
        """
        ...
