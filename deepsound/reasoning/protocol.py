"""The interface of reasoners: replies and protocols. `deepsound.cot.parsing` parses the replies of all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from deepsound.canonical_json import Json
from deepsound.cot import ReplyForm
from deepsound.media.observers import Footage, Observer
from deepsound.models.identity import ModelIdentity, ShownFrame
from deepsound.spans import Span


@dataclass(frozen=True, slots=True)
class VoiceSpan:
    """A span with the sound of people.

    `person_visible`: whether somebody is visible. `confidence`: mean speech probability. `mouths_still`: somebody
    is visible but no mouth moves, so the voice comes from elsewhere.
    """

    span: Span
    person_visible: bool
    confidence: float
    mouths_still: bool = False

    @property
    def off_screen(self) -> bool:
        """Whether nobody visible can be the speaker."""
        return self.mouths_still or not self.person_visible


@dataclass(frozen=True, slots=True)
class Reply:
    """A reasoner's output before parsing.

    `raw`: the complete text. `probability`: the reasoner's own probability of voice-over in [0, 1]; None without
    one. `voice_heard`: whether any people are heard, visible or not; None if unknown. `form`: how to parse a reply
    to `cot.JUDGE_PROMPT`. `prompt_tokens`, `reply_tokens`: None without tokens. `seconds`: duration except loading
    of weights, ignored in comparisons. `members`: replies of an ensemble's members, part of `raw`. `windows`:
    replies on time windows of the video, not part of `raw`.
    """

    raw: str
    prompt: str
    probability: float | None = None
    voices: tuple[VoiceSpan, ...] = ()
    voice_heard: bool | None = None
    frames: tuple[ShownFrame, ...] = ()
    parameters: Mapping[str, Json] = field(default_factory=dict[str, Json])
    form: ReplyForm = ReplyForm.STAGES
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    seconds: float | None = field(default=None, compare=False)
    members: tuple["MemberReply", ...] = ()
    windows: tuple["WindowReply", ...] = ()


@dataclass(frozen=True, slots=True)
class MemberReply:
    """The reply of one member of an ensemble, and its first character in the ensemble's raw output."""

    reasoner: str
    reply: Reply
    start: int


@dataclass(frozen=True, slots=True)
class WindowReply:
    """The reply on one time window of a video. Character ranges refer to its own raw output."""

    span: Span
    reply: Reply


class Reasoner(Protocol):
    """One way to plan and to judge."""

    name: str
    version: str

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """Identities of its weights."""
        ...

    def observers(self) -> Sequence[Observer]:
        """New observers for one video, which collect what the reasoner needs to see."""
        ...

    def plan(self, footage: Footage) -> Reply:
        """Step 0: answer `cot.PLAN_PROMPT`. Called only if the run asks the model for its plan."""
        ...

    def judge(self, footage: Footage, audio: Path) -> Reply:
        """Step 2: answer `cot.JUDGE_PROMPT` for the video with this audio. Raises a subclass of DeepSoundError."""
        ...


@runtime_checkable
class SupportsSilenceCheck(Protocol):
    """A reasoner that can also answer whether an audio file is silent, the paper's third task."""

    def is_silent(self, audio: Path) -> Reply:
        """Step 4: answer `cot.SILENCE_PROMPT` for this audio alone. Raises a subclass of DeepSoundError."""
        ...


@runtime_checkable
class SupportsVoiceSpans(Protocol):
    """A reasoner that locates voices in time, so it need not be asked about time windows."""

    @property
    def gives_voice_spans(self) -> bool:
        """Whether its replies have `voices`."""
        ...


@runtime_checkable
class SupportsConcurrency(Protocol):
    """A reasoner that answers questions of several threads together."""

    @property
    def concurrency(self) -> int:
        """How many questions it answers together on its own device; 1 without a benefit."""
        ...
