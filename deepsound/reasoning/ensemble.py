"""Several reasoners as one: each is asked, agreement decides, and where there is none their probabilities may.

Every word of each stays: the raw output is theirs, one after the other, under their names in brackets.
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
"""Outside of these the mean probability decides. Two on either side of one half get there only where one is more
than 0.9 sure and the other less than 0.6: together they then leave little doubt."""

VERSION = "1"

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Vote:
    """What one of several said; positions are those of the ensemble's raw output."""

    reasoner: str
    judgement: Judgement
    probability: float | None


class Ensemble:
    """Reasoners that are asked one after the other; plans are the first one's.

    Raises BadSettingsError where one is named twice.
    """

    def __init__(self, members: Sequence[Reasoner]) -> None:
        self.members = tuple(members)
        names = [member.name for member in self.members]
        self.name = ",".join(names)
        if len(set(names)) < len(names):
            raise BadSettingsError(
                "one reasoner can't be two of several",
                where=f"--reasoner {self.name}",
                remedy="name each once",
            )
        self.version = "/".join([VERSION, *(f"{member.name}={member.version}" for member in self.members)])

    @property
    def gives_voice_spans(self) -> bool:
        """Whether one of them does; the first that gives spans is believed."""
        return any(isinstance(member, SupportsVoiceSpans) and member.gives_voice_spans for member in self.members)

    @property
    def concurrency(self) -> int:
        """As many as the member that gains most from company has at once."""
        return max(
            (member.concurrency for member in self.members if isinstance(member, SupportsConcurrency)), default=1
        )

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """The weights of all."""
        held = [model for member in self.members for model in member.models]
        return list({(model.name, sha256_json(dict(model.files))): model for model in held}.values())

    def observers(self) -> Sequence[Observer]:
        """What any of them needs to see, each kind once."""
        fresh = [observer for member in self.members for observer in member.observers()]
        return list({observer.name: observer for observer in fresh}.values())

    def plan(self, footage: Footage) -> Reply:
        """The first one's plan."""
        return self.members[0].plan(footage)

    def judge(self, footage: Footage, audio: Path) -> Reply:
        """Ask each. Raises DeepSoundError where one of them does."""
        return _together([(member.name, member.judge(footage, audio)) for member in self.members])


class SilenceCheckingEnsemble(Ensemble):
    """An ensemble of which some, or all, can be asked whether a sound is silent."""

    def is_silent(self, audio: Path) -> Reply:
        """Ask each that can be. Raises DeepSoundError where one of them does."""
        return _together([(name, member.is_silent(audio)) for name, member in _hearing(self.members)])


def build_ensemble(members: Sequence[Reasoner]) -> Ensemble:
    """Members as one. Raises BadSettingsError where one is named twice."""
    return SilenceCheckingEnsemble(members) if _hearing(members) else Ensemble(members)


def _hearing(members: Sequence[Reasoner]) -> list[tuple[str, SupportsSilenceCheck]]:
    return [(member.name, member) for member in members if isinstance(member, SupportsSilenceCheck)]


def judgement_of(reply: Reply) -> Judgement:
    """What a reply comes to, of one reasoner or of several."""
    said = votes(reply)
    return combine_votes(said) if said else cot.parse_reply(reply.raw, reply.form)


def votes(reply: Reply) -> tuple[Vote, ...]:
    """What each member said; none where a single reasoner testified."""
    return tuple(
        Vote(
            member.reasoner,
            _moved(cot.parse_reply(member.reply.raw, member.reply.form), member.start, reply.raw),
            member.reply.probability,
        )
        for member in reply.members
    )


def combine_votes(cast: Sequence[Vote]) -> Judgement:
    """The verdict of all, with the thoughts of the first, and a `reason` where they did not agree.

    Agreement is the same verdict, yes or no, from every one. Otherwise the mean of their probabilities decides
    outside `NO_BELOW` and `YES_ABOVE`, if each has one and at least one of them came to that verdict.
    """
    first, verdicts = cast[0].judgement, {vote.judgement.verdict for vote in cast}
    if len(verdicts) == 1 and Verdict.UNDECIDED not in verdicts:
        return first
    said = "; ".join(f"{vote.reasoner} says {vote.judgement.verdict}" for vote in cast)
    mean = mean_probability([vote.probability for vote in cast])
    if mean is None:
        return Judgement(first.raw, Verdict.UNDECIDED, first.thoughts, f"{said}; not each has a probability")
    verdict = _by_probability(mean)
    if verdict is Verdict.UNDECIDED or verdict not in verdicts:
        why = f"{said}; their mean probability, {mean:.3f}, leaves it open"
        return Judgement(first.raw, Verdict.UNDECIDED, first.thoughts, why)
    return Judgement(first.raw, verdict, first.thoughts, f"{said}; their mean probability, {mean:.3f}, decides")


def _by_probability(mean: float) -> Verdict:
    if NO_BELOW <= mean <= YES_ABOVE:
        return Verdict.UNDECIDED
    return Verdict.YES if mean > YES_ABOVE else Verdict.NO


def mean_probability(probabilities: Sequence[float | None]) -> float | None:
    """None where one of them is missing."""
    known = [probability for probability in probabilities if probability is not None]
    return fmean(known) if len(known) == len(probabilities) else None


def _together(said: Sequence[tuple[str, Reply]]) -> Reply:
    raw, members = "", list[MemberReply]()
    for name, reply in said:
        raw += f"[{name}]\n"
        members.append(MemberReply(name, reply, len(raw)))
        raw += f"{reply.raw}\n\n"
    replies = [reply for _, reply in said]
    return Reply(
        raw=raw.removesuffix("\n\n"),
        prompt="\n\n".join(f"[{name}]\n{reply.prompt}" for name, reply in said),
        probability=mean_probability([reply.probability for reply in replies]),
        voices=next((reply.voices for reply in replies if reply.voices), ()),
        voice_heard=_heard([reply.voice_heard for reply in replies]),
        frames=_frames(replies),
        parameters={name: dict(reply.parameters) for name, reply in said},
        prompt_tokens=_sum([reply.prompt_tokens for reply in replies]),
        reply_tokens=_sum([reply.reply_tokens for reply in replies]),
        seconds=_sum([reply.seconds for reply in replies]),
        members=tuple(members),
    )


def _heard(each: Sequence[bool | None]) -> bool | None:
    """Heard by one is heard; that nobody speaks must be said by all."""
    if True in each:
        return True
    return None if None in each else False


def _frames(replies: Sequence[Reply]) -> tuple[ShownFrame, ...]:
    shown = {(frame.time, frame.sha256): frame for reply in replies for frame in reply.frames}
    return tuple(shown[at] for at in sorted(shown))


def _sum(each: Sequence[_Number | None]) -> _Number | None:
    known = [number for number in each if number is not None]
    return sum(known[1:], start=known[0]) if known else None


def _moved(judgement: Judgement, by: int, raw: str) -> Judgement:
    return replace(
        judgement,
        raw=raw,
        thoughts=tuple(
            replace(thought, start=thought.start + by, end=thought.end + by) for thought in judgement.thoughts
        ),
        decided_at=_span(judgement.decided_at, by),
        contradicted_at=_span(judgement.contradicted_at, by),
    )


def _span(span: tuple[int, int] | None, by: int) -> tuple[int, int] | None:
    return None if span is None else (span[0] + by, span[1] + by)
