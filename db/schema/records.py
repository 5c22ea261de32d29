"""Records of attempts that tasks pass to the ledger and read back: plain data without a database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

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
    """Nothing was computed: the result is that of a finished attempt with the same step key."""


class WorkState(StrEnum):
    """The state of one step of an item."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Direction(StrEnum):
    """Whether an attempt read an artifact or produced it."""

    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class StepRef:
    """A step of an item and its round: 1, or 2 after the `neg` fallback."""

    step: Step
    round: int = 1


FIRST_STEP: Final = StepRef(Step.PLAN)
"""The first step of every item."""


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """The program: release, source revision if known, and whether files differ from that revision."""

    release: str
    revision: str | None
    is_modified: bool


@dataclass(frozen=True, slots=True, eq=False)
class Environment:
    """What the program runs on, one instance per process. `packages`: the version of each installed package."""

    python: str
    platform: str
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """Host, device and software of an attempt, one instance per process. `device`: e.g. "cpu", "cuda"."""

    host: str
    device: str
    code: CodeVersion
    environment: Environment


@dataclass(frozen=True, slots=True)
class DecisionRef:
    """Refers to a decision in the ledger: its attempt, and its position there."""

    attempt_id: int
    position: int


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision, e.g. `voice_over` = `yes`.

    `span` is the range of characters of the raw output it was parsed from, None if it comes from a measurement.
    """

    key: str
    value: str
    confidence: float | None = None
    span: tuple[int, int] | None = None
    parser_version: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A value measured before and after. NaN and infinity are stored as null: the value could not be measured."""

    before: float | None
    after: float | None


UNMEASURED: Final = Change(None, None)


@dataclass(frozen=True, slots=True)
class Effect:
    """A change to the sound, its span, and the decision that caused it (None: the run's settings did).

    Hashes are of the whole audio before and after; None where there is no audio. Speech in seconds and in dB re
    full scale, loudness in LUFS.
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
    """One finished execution of a step.

    `followed_by` is the next step (the same one to try it again), or the outcome that ends the item. `failure`
    makes it a failed attempt, `reused_attempt_id` a reused one; otherwise it is done. `step_key` is None only if
    the step failed before its inputs were known. `inputs` and `outputs` are by role. Raises ValueError for both a
    `failure` and a `reused_attempt_id`.
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
        """How the attempt ended."""
        if self.failure is not None:
            return AttemptStatus.FAILED
        return AttemptStatus.DONE if self.reused_attempt_id is None else AttemptStatus.REUSED


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision read from the ledger, and its reference."""

    ref: DecisionRef
    key: str
    value: str
    confidence: float | None


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """A step with a result. `attempt_id` is the attempt that computed it, which may be one of another item."""

    at: StepRef
    attempt_id: int
    backend: str
    result: Mapping[str, Json]
    probability: float | None
    decisions: tuple[RecordedDecision, ...]
    outputs: Mapping[str, Artifact]


@dataclass(frozen=True, slots=True)
class ItemRetries:
    """How many retries an item has, and which of its open steps must be computed again instead of reused."""

    count: int
    recompute: frozenset[StepRef]


NO_RETRIES: Final = ItemRetries(0, frozenset())
