"""The types that every step module uses, and the step key.

A step module has two functions. `inputs(item, action)` is cheap, and names everything that the result depends on.
`execute(context)` does the work. The runner does the rest for all steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from db.schema.records import UNMEASURED, Change, Decision, DecisionRef
from deepsound.canonical_json import Json, sha256_json
from deepsound.cot import Thought
from deepsound.models.identity import ModelIdentity, ShownFrame
from deepsound.pipeline import Action, Step
from deepsound.spans import Span
from deepsound.storage.protocol import Artifact, ArtifactStore
from tasks.runtime.footage_cache import FootageCache
from tasks.runtime.item import Item


@dataclass(frozen=True, slots=True)
class StepInputs:
    """All that a step's result depends on.

    `version` covers the step's own code, the backend's and the parser's. `video` is the SHA-256 of the source,
    where the step reads it. `artifacts` has what the step reads from the store, by role.
    """

    backend: str
    version: str
    models: Sequence[ModelIdentity] = ()
    parameters: Mapping[str, Json] = field(default_factory=dict[str, Json])
    seed: int | None = None
    video: str | None = None
    artifacts: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])

    def key(self, step: Step) -> str:
        """The step key: steps with the same key have the same result."""
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
class StepContext:
    """What a step works with: its item, its round, the store, the decoded footage, a folder for its files."""

    item: Item
    action: Action
    store: ArtifactStore
    footage_cache: FootageCache
    scratch: Path


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file in the scratch folder that becomes an artifact."""

    path: Path
    media_type: str


@dataclass(frozen=True, slots=True)
class SoundChange:
    """A change of the sound over a time span, and the decision that caused it. The runner records it as an effect.

    `before` is the SHA-256 of the changed artifact. `made` is the role of this step's file that has the change.
    `replaced_by` is the SHA-256 of an older artifact that takes its place. Both are None where there is no sound.
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
    """What a step returns. Later steps and the decision table read `result`; `files` has new artifacts by role."""

    result: Mapping[str, Json]
    files: Mapping[str, MadeFile] = field(default_factory=dict[str, MadeFile])
    template: str | None = None
    prompt: str | None = None
    raw: str | None = None
    parser_version: str | None = None
    probability: float | None = None
    frames: Sequence[ShownFrame] = ()
    thoughts: Sequence[Thought] = ()
    decisions: Sequence[Decision] = ()
    changes: Sequence[SoundChange] = ()
