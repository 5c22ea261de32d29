"""What tasks and flows hand to the ledger and get back from it. Plain data, no database in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from db.schema.hashing import manifest_sha256, settings_sha256
from deepsound.canonical_json import Json
from deepsound.cot import Thought
from deepsound.errors import DeepSoundError
from deepsound.models.identity import ModelIdentity, ShownFrame
from deepsound.pipeline import OutcomeKind, Step
from deepsound.spans import Span
from deepsound.storage.protocol import Artifact


class AttemptStatus(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    FAILED = "failed"
    REUSED = "reused"
    """Nothing was computed: a finished attempt with the same step key stands for it."""


class WorkState(StrEnum):
    """Where a step of an item stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Direction(StrEnum):
    """Whether an attempt read an artifact or made it."""

    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class StepRef:
    """A step of an item: round 1, or 2 for what follows the `neg` fallback."""

    step: Step
    round: int = 1


FIRST_STEP: Final = StepRef(Step.PLAN)
"""What every item starts with."""


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """The program: release, source revision where known, whether files differ from that revision."""

    release: str
    revision: str | None
    is_modified: bool


@dataclass(frozen=True, slots=True, eq=False)
class Environment:
    """What the program runs on, made once a process. `packages`: version by name, of everything installed."""

    python: str
    platform: str
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """Where an attempt ran: made once a process. `device` is what the models ran on, e.g. "cpu"."""

    host: str
    device: str
    code: CodeVersion
    environment: Environment


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A source file that could be read: its hash, size in bytes, media type; `probe` None if it is no media."""

    sha256: str
    size: int
    media_type: str
    probe: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class NewItem:
    """A line of a run's list. `source` as given; `video` None where there is nothing to read."""

    source: str
    output_name: str
    video: VideoFile | None = None
    overrides: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run about to start: its frozen settings and its ordered list."""

    name: str
    settings: Mapping[str, Json]
    items: Sequence[NewItem]
    code: CodeVersion

    @property
    def settings_sha256(self) -> str:
        """Hash of the settings."""
        return settings_sha256(self.settings)

    @property
    def manifest_sha256(self) -> str:
        """Hash of the list: source, content, overrides and output name of every item, in order."""
        return manifest_sha256(
            (item.source, item.video.sha256 if item.video else None, item.overrides, item.output_name)
            for item in self.items
        )


@dataclass(frozen=True, slots=True)
class DecisionRef:
    """A decision in the ledger: the attempt that made it and its place there."""

    attempt_id: int
    position: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Something decided, e.g. `voice_over` = `yes`.

    `span` are the characters of the raw output it was read from, None if it was measured rather than read.
    """

    key: str
    value: str
    confidence: float | None = None
    span: tuple[int, int] | None = None
    parser_version: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A measurement before and after; not a number or infinite is kept as null: it could not be measured."""

    before: float | None
    after: float | None


UNMEASURED: Final = Change(None, None)


@dataclass(frozen=True, slots=True)
class Effect:
    """What was done to the sound, where, and by which decision (None: by the run's settings).

    Hashes are of the whole audio before and after; None: there was none, or none is left. Speech in seconds
    and in dB re full scale, loudness in LUFS.
    """

    operation: str
    span: Span
    before_sha256: str | None
    after_sha256: str | None
    decision: DecisionRef | None = None
    speech_seconds: Change = UNMEASURED
    speech_level: Change = UNMEASURED
    loudness: Change = UNMEASURED


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One execution of a step, complete, as it ended.

    `followed_by` is the step that follows (this one again, where it is to be tried again) or the outcome that ends
    the item. `failure` makes it a failed attempt, `reused_attempt_id` a reused one; otherwise it is done.
    `step_key` is None only where a failure came before the inputs were known. Inputs and outputs by role.
    """

    item_id: int
    at: StepRef
    followed_by: StepRef | OutcomeKind
    step_key: str | None
    step_version: str
    backend: str
    started_at: datetime
    ended_at: datetime
    execution_context: ExecutionContext
    parameters: Mapping[str, Json] = field(default_factory=dict[str, Json])
    seed: int | None = None
    template: str | None = None
    prompt: str | None = None
    frames: Sequence[ShownFrame] = ()
    raw_output: str | None = None
    parser_version: str | None = None
    result: Mapping[str, Json] | None = None
    probability: float | None = None
    models: Sequence[ModelIdentity] = ()
    inputs: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])
    outputs: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])
    thoughts: Sequence[Thought] = ()
    decisions: Sequence[Decision] = ()
    effects: Sequence[Effect] = ()
    failure: DeepSoundError | None = None
    reused_attempt_id: int | None = None
    prefect_flow_run_id: str | None = None
    prefect_task_run_id: str | None = None

    def __post_init__(self) -> None:
        if self.failure is not None and self.reused_attempt_id is not None:
            raise ValueError("a failed attempt cannot be a reused one")

    @property
    def status(self) -> AttemptStatus:
        """How it ended."""
        if self.failure is not None:
            return AttemptStatus.FAILED
        return AttemptStatus.DONE if self.reused_attempt_id is None else AttemptStatus.REUSED


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision read back, and how to refer to it."""

    ref: DecisionRef
    key: str
    value: str
    confidence: float | None


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """A step that has a result. `attempt_id` is the attempt that made it, in whichever item that was."""

    at: StepRef
    attempt_id: int
    backend: str
    result: Mapping[str, Json]
    probability: float | None
    decisions: tuple[RecordedDecision, ...]
    outputs: Mapping[str, Artifact]


@dataclass(frozen=True, slots=True)
class OpenStep:
    """Work that is left. A step whose lease ran out counts as pending; `owner` holds it if it is running."""

    item_id: int
    at: StepRef
    state: WorkState
    owner: str | None


@dataclass(frozen=True, slots=True)
class ItemRetries:
    """An item of which steps were taken back: how often, and which are really to be done again, not reused."""

    count: int
    recompute: frozenset[StepRef]


NO_RETRIES: Final = ItemRetries(0, frozenset())
