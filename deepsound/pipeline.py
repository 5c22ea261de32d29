"""The decision table: given what is known about one video, what is done next. Pure: no I/O, no clock.

    plan -> generate -> judge --no----------------------------------------> publish (done)
                          |  `-undecided----------------------------------> publish (needs review)
                          `-yes-> separate -> check_silence -not silent---> publish (done)
                                                   `-silent-> fall_back -rm--> publish (removed)
                                                                 |-rep-------> publish (done, coarse audio back)
                                                                 `-neg-> generate, judge once more (round 2)

Paper sections: figure 2 and the released pipeline's `postp_mode`. Ours beyond it: what the `neg` fallback
made is judged, and separated if need be, once; where that leaves nothing either, a person decides.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from deepsound.cot import Verdict


class Step(StrEnum):
    """One kind of work on one video."""

    PLAN = "plan"
    GENERATE = "generate"
    JUDGE = "judge"
    SEPARATE = "separate"
    CHECK_SILENCE = "check_silence"
    FALL_BACK = "fall_back"
    PUBLISH = "publish"


class Fallback(StrEnum):
    """What to do when removing the voice left nothing."""

    NEG = "neg"
    """Generate again against "human voice"."""
    REP = "rep"
    """Put the coarse audio back."""
    RM = "rm"
    """Put nothing out."""


class VoicePolicy(StrEnum):
    """Which voices are taken out."""

    VOICE_OVER = "voice-over"
    """Only voices of people who are not in the picture."""
    ALL = "all"
    """Every voice, as an M&E delivery wants."""


class OutcomeKind(StrEnum):
    """How an item ends."""

    DONE = "done"
    NEEDS_REVIEW = "needs_review"
    FAILED = "failed"
    REMOVED = "removed"


class Stem(StrEnum):
    """Which audio of a round is meant."""

    COARSE = "coarse"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that steer the chain."""

    fallback: Fallback
    voice: VoicePolicy


@dataclass(frozen=True, slots=True)
class Round:
    """What is known of one generation: round 1, and round 2 after the `neg` fallback."""

    generated: bool = False
    verdict: Verdict | None = None
    voice_heard: bool | None = None
    separated: bool = False
    silent: bool | None = None


@dataclass(frozen=True, slots=True)
class ChainState:
    """All that is known about an item; the empty one is an item nobody touched."""

    plan_accepted: bool | None = None
    first: Round = field(default_factory=Round)
    fell_back: Fallback | None = None
    second: Round = field(default_factory=Round)
    published: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """What is published: the outcome, which audio (None: none), of which round, and why, in a sentence."""

    kind: OutcomeKind
    audio: Stem | None
    round: int
    why: str


@dataclass(frozen=True, slots=True)
class Action:
    """The next step. `ending` is set exactly for `publish`."""

    step: Step
    round: int = 1
    ending: Ending | None = None


def next_action(policy: Policy, known: ChainState) -> Action | None:
    """The one thing to do next; None when the item is finished."""
    if known.published:
        return None
    if known.plan_accepted is None:
        return Action(Step.PLAN)
    if not known.first.generated:
        return Action(Step.GENERATE)
    if not known.plan_accepted:
        return _publish(_review(1, "the plan could not be read"))
    within = _within_round(policy, known.first, 1)
    if within is not None:
        return within
    if known.fell_back is None:
        return Action(Step.FALL_BACK)
    return _after_fallback(policy, known.fell_back, known.second)


def _after_fallback(policy: Policy, fallback: Fallback, second: Round) -> Action:
    nothing_left = "removing the voice left silence"
    match fallback:
        case Fallback.RM:
            return _publish(Ending(OutcomeKind.REMOVED, None, 1, f"{nothing_left}; nothing is put out"))
        case Fallback.REP:
            why = f"{nothing_left}; the coarse audio is put back, voice included"
            return _publish(Ending(OutcomeKind.DONE, Stem.COARSE, 1, why))
        case Fallback.NEG:
            if not second.generated:
                return Action(Step.GENERATE, 2)
            within = _within_round(policy, second, 2)
            return within or _publish(_review(2, f"{nothing_left}, also after generating against voices"))


def _within_round(policy: Policy, known: Round, number: int) -> Action | None:
    """The next action of a round; None when its separation left silence."""
    again = " (generated again against voices)" if number == 2 else ""
    if known.verdict is None:
        return Action(Step.JUDGE, number)
    if known.verdict is Verdict.UNDECIDED:
        return _publish(_review(number, f"the verdict is undecided{again}"))
    if not _voice_must_go(policy, known):
        voice = "no voice-over" if policy.voice is VoicePolicy.VOICE_OVER else "no voice"
        why = f"{voice} in the coarse audio{again}"
        return _publish(Ending(OutcomeKind.DONE, Stem.COARSE, number, why))
    if not known.separated:
        return Action(Step.SEPARATE, number)
    if known.silent is None:
        return Action(Step.CHECK_SILENCE, number)
    if known.silent:
        return None
    return _publish(Ending(OutcomeKind.DONE, Stem.BACKGROUND, number, f"the voice was removed{again}"))


def _voice_must_go(policy: Policy, known: Round) -> bool:
    if known.verdict is Verdict.YES:
        return True
    # A reasoner that can't tell whether anybody speaks at all (None) gives no ground to leave voices in.
    return policy.voice is VoicePolicy.ALL and known.voice_heard is not False


def _publish(ending: Ending) -> Action:
    return Action(Step.PUBLISH, ending.round, ending)


def _review(number: int, why: str) -> Ending:
    return Ending(OutcomeKind.NEEDS_REVIEW, None, number, f"{why}; a person decides, the coarse audio is kept")
