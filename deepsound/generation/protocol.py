"""What a video-to-audio generator is asked and answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deepsound.canonical_json import Json
from deepsound.media.observers import Footage, Observer
from deepsound.models.identity import ModelIdentity


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One video to be sounded. `video` is the file itself, for generators that use more than the footage."""

    video: Path
    footage: Footage
    prompt: str
    negative_prompt: str
    seed: int


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """The coarse audio as written: exactly as long as the picture (±1 sample), and what the generator noted."""

    sample_rate: int
    channels: int
    samples: int
    notes: Mapping[str, Json]


class Generator(Protocol):
    """One way to make audio for a video.

    Same request, same samples, whatever else the process does: to the bit, or to within 1e-4 of their norm where
    `concurrency` is above 1.
    """

    name: str
    version: str
    regenerates_with: str | None
    """The generator that answers the `neg` fallback; None is this one."""

    @property
    def concurrency(self) -> int:
        """How many requests, made by as many threads, it works on together on a device of its own; 1 where it
        gains nothing from company.
        """
        ...

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """The weights it runs on; empty where it is procedural."""
        ...

    def observers(self) -> Sequence[Observer]:
        """Fresh observers for one video: what it needs to see."""
        ...

    def generate(self, request: GenerationRequest, target: Path) -> GenerationResult:
        """Write the coarse audio to `target` as float WAV. Raises DeepSoundError."""
        ...
