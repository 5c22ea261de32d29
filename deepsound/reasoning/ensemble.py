"""Combines several reasoners into one: each is asked, and agreement or their mean probability decides.

The raw output contains every reply in full, one after the other, each under the reasoner's name in brackets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from deepsound import cot
from deepsound.canonical_json import sha256_json
from deepsound.cot import Judgement, Verdict
from deepsound.errors import BadSettingsError
from deepsound.media.observers import Footage, Observer
from deepsound.models.identity import ModelIdentity, ShownFrame
from deepsound.reasoning.protocol import (
    MemberReply,
    Reasoner,
    Reply,
    SupportsConcurrency,
    SupportsSilenceCheck,
    SupportsVoiceSpans,
)

NO_BELOW, YES_ABOVE = 0.3, 0.7
"""Without agreement, a mean probability below or above these decides. Two reasoners on either side of one half get
there only if, say, one is more than 90 % certain and the other less than 60 %."""

VERSION = "1"

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Vote:
    """The judgement of one member; its character ranges refer to the ensemble's raw output."""

    reasoner: str
    judgement: Judgement
    probability: float | None


class Ensemble:
    """Asks several reasoners one after the other. Plans come from the first.

    Raises BadSettingsError if two have the same name.
    """

    def __init__(self, members: Sequence[Reasoner]) -> None:
        self.members = tuple(members)
        names = [member.name for member in self.members]
        self.name = ",".join(names)
        if len(set(names)) < len(names):
            raise BadSettingsError(
                "a reasoner is named twice",
                where=f"--reasoner {self.name}",
                remedy="name each once",
            )
        self.version = "/".join([VERSION, *(f"{member.name}={member.version}" for member in self.members)])

    @property
    def gives_voice_spans(self) -> bool:
        """Whether a member does. The spans are those of the first member whose reply has any."""
        return any(isinstance(member, SupportsVoiceSpans) and member.gives_voice_spans for member in self.members)

    @property
    def concurrency(self) -> int:
        """The highest concurrency of the members."""
        return max(
            (member.concurrency for member in self.members if isinstance(member, SupportsConcurrency)), default=1
        )

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """Weights of all members, without duplicates."""
        held = [model for member in self.members for model in member.models]
        return list({(model.name, sha256_json(dict(model.files))): model for model in held}.values())

    def observers(self) -> Sequence[Observer]:
        """Observers of all members, one of each name."""
        fresh = [observer for member in self.members for observer in member.observers()]
        return list({observer.name: observer for observer in fresh}.values())

    def plan(self, footage: Footage) -> Reply:
        """Return the plan of the first member."""
        return self.members[0].plan(footage)

    def judge(self, footage: Footage, audio: Path) -> Reply:
        """Ask every member. Raises the error of the first that fails."""
        return _combined([(member.name, member.judge(footage, audio)) for member in self.members])


class SilenceCheckingEnsemble(Ensemble):
    """An ensemble of which at least one member can check for silence."""

    def is_silent(self, audio: Path) -> Reply:
        """Ask every member that can check for silence. Raises the error of the first that fails."""
        return _combined([(name, member.is_silent(audio)) for name, member in _silence_checkers(self.members)])


def build_ensemble(members: Sequence[Reasoner]) -> Ensemble:
    """Combine reasoners into one. Raises BadSettingsError if two have the same name."""
    return SilenceCheckingEnsemble(members) if _silence_checkers(members) else Ensemble(members)


def _silence_checkers(members: Sequence[Reasoner]) -> list[tuple[str, SupportsSilenceCheck]]:
    return [(member.name, member) for member in members if isinstance(member, SupportsSilenceCheck)]


def judgement_of(reply: Reply) -> Judgement:
    """The judgement of a reply, whether of one reasoner or of an ensemble."""
    cast = votes(reply)
    return combine_votes(cast) if cast else cot.parse_reply(reply.raw, reply.form)


def votes(reply: Reply) -> tuple[Vote, ...]:
    """The vote of each member; empty for the reply of a single reasoner."""
    return tuple(
        Vote(
            member.reasoner,
            _shifted(cot.parse_reply(member.reply.raw, member.reply.form), member.start, reply.raw),
            member.reply.probability,
        )
        for member in reply.members
    )


def combine_votes(cast: Sequence[Vote]) -> Judgement:
    """Combine votes into one judgement with the thoughts of the first, and a `reason` if they disagree.

    The same verdict from all, yes or no, is the verdict. Otherwise their mean probability decides outside
    [`NO_BELOW`, `YES_ABOVE`], if every vote has a probability and at least one vote is for that verdict.
    """
    first, verdicts = cast[0].judgement, {vote.judgement.verdict for vote in cast}
    if len(verdicts) == 1 and Verdict.UNDECIDED not in verdicts:
        return first
    summary = "; ".join(f"{vote.reasoner} says {vote.judgement.verdict}" for vote in cast)
    mean = mean_probability([vote.probability for vote in cast])
    if mean is None:
        return Judgement(first.raw, Verdict.UNDECIDED, first.thoughts, f"{summary}; not each has a probability")
    verdict = _by_probability(mean)
    if verdict is Verdict.UNDECIDED or verdict not in verdicts:
        why = f"{summary}; their mean probability, {mean:.3f}, leaves it open"
        return Judgement(first.raw, Verdict.UNDECIDED, first.thoughts, why)
    return Judgement(first.raw, verdict, first.thoughts, f"{summary}; their mean probability, {mean:.3f}, decides")


def _by_probability(mean: float) -> Verdict:
    if NO_BELOW <= mean <= YES_ABOVE:
        return Verdict.UNDECIDED
    return Verdict.YES if mean > YES_ABOVE else Verdict.NO


def mean_probability(probabilities: Sequence[float | None]) -> float | None:
    """The mean; None if a probability is missing."""
    known = [probability for probability in probabilities if probability is not None]
    return fmean(known) if len(known) == len(probabilities) else None


def _combined(named_replies: Sequence[tuple[str, Reply]]) -> Reply:
    raw, members = "", list[MemberReply]()
    for name, reply in named_replies:
        raw += f"[{name}]\n"
        members.append(MemberReply(name, reply, len(raw)))
        raw += f"{reply.raw}\n\n"
    replies = [reply for _, reply in named_replies]
    return Reply(
        raw=raw.removesuffix("\n\n"),
        prompt="\n\n".join(f"[{name}]\n{reply.prompt}" for name, reply in named_replies),
        probability=mean_probability([reply.probability for reply in replies]),
        voices=next((reply.voices for reply in replies if reply.voices), ()),
        voice_heard=_voice_heard([reply.voice_heard for reply in replies]),
        frames=_frames(replies),
        parameters={name: dict(reply.parameters) for name, reply in named_replies},
        prompt_tokens=_sum([reply.prompt_tokens for reply in replies]),
        reply_tokens=_sum([reply.reply_tokens for reply in replies]),
        seconds=_sum([reply.seconds for reply in replies]),
        members=tuple(members),
    )


def _voice_heard(answers: Sequence[bool | None]) -> bool | None:
    """True if one member hears a voice, False if all hear none, else None."""
    if True in answers:
        return True
    return None if None in answers else False


def _frames(replies: Sequence[Reply]) -> tuple[ShownFrame, ...]:
    shown = {(frame.time, frame.sha256): frame for reply in replies for frame in reply.frames}
    return tuple(shown[at] for at in sorted(shown))


def _sum(numbers: Sequence[_Number | None]) -> _Number | None:
    known = [number for number in numbers if number is not None]
    return sum(known[1:], start=known[0]) if known else None


def _shifted(judgement: Judgement, by: int, raw: str) -> Judgement:
    return replace(
        judgement,
        raw=raw,
        thoughts=tuple(
            replace(thought, start=thought.start + by, end=thought.end + by) for thought in judgement.thoughts
        ),
        decided_at=_shifted_span(judgement.decided_at, by),
        contradicted_at=_shifted_span(judgement.contradicted_at, by),
    )


def _shifted_span(span: tuple[int, int] | None, by: int) -> tuple[int, int] | None:
    return None if span is None else (span[0] + by, span[1] + by)
