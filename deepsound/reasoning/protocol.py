"""What a reasoner is asked and answers. Its words are parsed by `deepsound.cot.parsing`, whoever spoke them."""

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
    """A stretch of sound of people: when, whether someone was visible, how sure (mean speech probability).

    `mouths_still`: someone was visible, but nobody whose mouth moved, so the voice comes from elsewhere.
    """

    span: Span
    person_visible: bool
    confidence: float
    mouths_still: bool = False

    @property
    def off_screen(self) -> bool:
        """Whether nobody in the picture can be the one who is heard."""
        return self.mouths_still or not self.person_visible


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reasoner said, before parsing.

    `raw` is every word of it. `probability` is the reasoner's own probability of voice-over in [0, 1], None
    where it has none. `voice_heard`: any sound of people, in picture or not; None where it can't tell. `form`:
    how a reply to `cot.JUDGE_PROMPT` is to be parsed. Tokens read and said, where there are such, and the seconds
    it took, without loading weights; these alone may differ where all else is equal. `members`: what each of
    several reasoners said, whose words `raw` then holds one after the other. `windows`: what was said of stretches
    of the video beside, whose words `raw` does not hold.
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
    """One of several reasoners: what it said, and from which character of the common raw output on."""

    reasoner: str
    reply: Reply
    start: int


@dataclass(frozen=True, slots=True)
class WindowReply:
    """A stretch of a video, and what was said of it alone. Positions are those of its own raw output."""

    span: Span
    reply: Reply


class Reasoner(Protocol):
    """One way to plan and to judge."""

    name: str
    version: str

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """The weights it runs on."""
        ...

    def observers(self) -> Sequence[Observer]:
        """Fresh observers for one video: what it needs to see."""
        ...

    def plan(self, footage: Footage) -> Reply:
        """Step 0: answer `cot.PLAN_PROMPT`; asked only where the run wants its own plan. Raises DeepSoundError."""
        ...

    def judge(self, footage: Footage, audio: Path) -> Reply:
        """Step 2: answer `cot.JUDGE_PROMPT` for the video with this audio. Raises DeepSoundError."""
        ...


@runtime_checkable
class SupportsSilenceCheck(Protocol):
    """What a reasoner may have besides: the paper's third task."""

    def is_silent(self, audio: Path) -> Reply:
        """Step 4: answer `cot.SILENCE_PROMPT` for this audio alone. Raises DeepSoundError."""
        ...


@runtime_checkable
class SupportsVoiceSpans(Protocol):
    """What a reasoner may be besides: one that knows where voices are, and need not be asked of windows."""

    @property
    def gives_voice_spans(self) -> bool:
        """Whether its replies have `voices`."""
        ...


@runtime_checkable
class SupportsConcurrency(Protocol):
    """What a reasoner may be besides: one that answers questions of several threads side by side."""

    @property
    def concurrency(self) -> int:
        """How many, on a device of its own; 1 where it gains nothing from company."""
        ...
