"""The interface of video-to-audio generators: request, result, protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deepsound.canonical_json import Json
from deepsound.media.observers import Footage, Observer
from deepsound.models.identity import ModelIdentity


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One video to generate audio for. `video` is the file, for generators that need more than the footage."""

    video: Path
    footage: Footage
    prompt: str
    negative_prompt: str
    seed: int


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """The written coarse audio, as long as the picture (±1 sample), and notes for the ledger."""

    sample_rate: int
    channels: int
    samples: int
    notes: Mapping[str, Json]


class Generator(Protocol):
    """One way to generate audio for a video.

    The same request gives the same samples, independent of other requests: bit-identical, or within 1e-4 of their
    norm if `concurrency` is above 1.
    """

    name: str
    version: str
    regenerates_with: str | None
    """Name of the generator for the `neg` fallback; None means this one."""

    @property
    def concurrency(self) -> int:
        """How many requests of as many threads it processes together on its own device; 1 without a benefit."""
        ...

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """Identities of its weights; empty for procedural generators."""
        ...

    def observers(self) -> Sequence[Observer]:
        """New observers for one video, which collect what the generator needs to see."""
        ...

    def generate(self, request: GenerationRequest, target: Path) -> GenerationResult:
        """Write the coarse audio to `target` as float WAV. Raises a subclass of DeepSoundError."""
        ...
