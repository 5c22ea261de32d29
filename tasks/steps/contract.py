"""What every step module says about itself, and the key that makes work findable.

A step module has two functions: `inputs(job, action)` names everything its result depends on, cheaply, and
`execute(job, action, scratch)` does the work. `perform` does the rest, the same for all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from db.schema.records import UNMEASURED, Change, Decision, DecisionRef
from deepsound.canonical_json import Json, sha256_json
from deepsound.cot import Thought
from deepsound.models.identity import ModelIdentity, ShownFrame
from deepsound.pipeline import Step
from deepsound.spans import Span
from deepsound.storage.protocol import Artifact


@dataclass(frozen=True, slots=True)
class StepInputs:
    """All that a step's result depends on: what it reads by role, `video` the source's hash."""

    backend: str
    version: str
    models: Sequence[ModelIdentity] = ()
    parameters: Mapping[str, Json] = field(default_factory=dict)
    seed: int | None = None
    video: str | None = None
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)

    def key(self, step: Step) -> str:
        """The step key: same key, same result."""
        return sha256_json(
            {
                "step": step,
                "version": self.version,
                "backend": self.backend,
                "weights": {model.name: dict(model.files) for model in self.models},
                "parameters": dict(self.parameters),
                "seed": self.seed,
                "video": self.video,
                "inputs": {role: artifact.sha256 for role, artifact in self.artifacts.items()},
            }
        )


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file a step made, to be kept as an artifact."""

    path: Path
    media_type: str


@dataclass(frozen=True, slots=True)
class SoundChange:
    """What was done to the sound, where, and by which decision; becomes a row of `effect`.

    `before` is an artifact's SHA-256. What came after is a file this step made, by its role, or an artifact
    put in its place, by its SHA-256; neither where nothing is put out.
    """

    operation: str
    span: Span
    before: str
    made: str | None = None
    replaced_by: str | None = None
    because: DecisionRef | None = None
    speech_seconds: Change = UNMEASURED
    speech_level: Change = UNMEASURED
    loudness: Change = UNMEASURED


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a step answers; `result` is what later steps and the decision table read."""

    result: Mapping[str, Json]
    files: Mapping[str, MadeFile] = field(default_factory=dict)
    template: str | None = None
    prompt: str | None = None
    raw: str | None = None
    parser_version: str | None = None
    probability: float | None = None
    frames: Sequence[ShownFrame] = ()
    thoughts: Sequence[Thought] = ()
    decisions: Sequence[Decision] = ()
    changes: Sequence[SoundChange] = ()
