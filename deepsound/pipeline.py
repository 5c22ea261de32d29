"""The decision table: from the state of one item follows its next step, or its outcome. Pure: no I/O, no clock.

    plan -> generate -> judge --no----------------------------------------> publish (done)
                          |  `-undecided----------------------------------> publish (needs review)
                          `-yes-> separate -> check_silence -not silent---> publish (done)
                                                   `-silent-> fall_back -rm--> publish (removed)
                                                                 |-rep-------> publish (done, coarse audio back)
                                                                 `-neg-> generate, judge once more (round 2)

Sources: figure 2 of the paper and `postp_mode` of the released pipeline. Two things are ours. Audio that the
`neg` fallback generates is judged too, and separated once where needed. Where that leaves silence again, a person
decides.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from deepsound.cot import Verdict


class Step(StrEnum):
    """A kind of work on one item."""

    PLAN = "plan"
    GENERATE = "generate"
    JUDGE = "judge"
    SEPARATE = "separate"
    CHECK_SILENCE = "check_silence"
    FALL_BACK = "fall_back"
    PUBLISH = "publish"


class Fallback(StrEnum):
    """What happens where removing the voice left silence."""

    NEG = "neg"
    """Generate again against "human voice"."""
    REP = "rep"
    """Publish the coarse audio, voice included."""
    RM = "rm"
    """Publish no sound."""


class VoicePolicy(StrEnum):
    """Which voices are removed."""

    VOICE_OVER = "voice-over"
    """Voices of people who are not in the picture."""
    ALL = "all"
    """Every voice, as an M&E delivery needs."""


class OutcomeKind(StrEnum):
    """How an item ends."""

    DONE = "done"
    NEEDS_REVIEW = "needs_review"
    FAILED = "failed"
    REMOVED = "removed"


class Stem(StrEnum):
    """An audio of a round that can be published."""

    COARSE = "coarse"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Policy:
    """The run's settings that the decision table depends on."""

    fallback: Fallback
    voice: VoicePolicy


@dataclass(frozen=True, slots=True)
class Round:
    """The state of one round: 1 is the first generation, 2 the one after the `neg` fallback. None: not known yet.

    `voice_heard` stays None after the judgement where the reasoner can't tell whether anybody speaks.
    """

    generated: bool = False
    verdict: Verdict | None = None
    voice_heard: bool | None = None
    separated: bool = False
    silent: bool | None = None


@dataclass(frozen=True, slots=True)
class ChainState:
    """The state of an item's chain of steps. The default is a new item. None: not known yet."""

    plan_accepted: bool | None = None
    first: Round = field(default_factory=Round)
    fell_back: Fallback | None = None
    second: Round = field(default_factory=Round)
    published: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How an item ends, and why, in a sentence.

    `audio` of `round` is published; None means no sound. `deciding_round` is the round whose judgement decided;
    None where the item ends without a judgement.
    """

    kind: OutcomeKind
    audio: Stem | None
    round: int
    deciding_round: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Action:
    """The next step. `ending` is set for `publish` and for no other step."""

    step: Step
    round: int = 1
    ending: Ending | None = None


def next_action(policy: Policy, state: ChainState) -> Action | None:
    """The step to do next; None once the item is published."""
    if state.published:
        return None
    if state.plan_accepted is None:
        return Action(Step.PLAN)
    if not state.first.generated:
        return Action(Step.GENERATE)
    if not state.plan_accepted:
        return _publish(_review(1, None, "the plan could not be read"))
    action = _within_round(policy, state.first, 1)
    if action is not None:
        return action
    if state.fell_back is None:
        return Action(Step.FALL_BACK)
    return _after_fallback(policy, state.fell_back, state.second)


def _after_fallback(policy: Policy, fallback: Fallback, second: Round) -> Action:
    silence = "removing the voice left silence"
    match fallback:
        case Fallback.RM:
            return _publish(Ending(OutcomeKind.REMOVED, None, 1, 1, f"{silence}; no sound is published"))
        case Fallback.REP:
            why = f"{silence}; the coarse audio is put back, voice included"
            return _publish(Ending(OutcomeKind.DONE, Stem.COARSE, 1, 1, why))
        case Fallback.NEG:
            if not second.generated:
                return Action(Step.GENERATE, 2)
            action = _within_round(policy, second, 2)
            return action or _publish(_review(2, 2, f"{silence}, also after generating against voices"))


def _within_round(policy: Policy, state: Round, number: int) -> Action | None:
    """The next action of a round; None where its separation left silence."""
    again = " (generated again against voices)" if number == 2 else ""
    if state.verdict is None:
        return Action(Step.JUDGE, number)
    if state.verdict is Verdict.UNDECIDED:
        return _publish(_review(number, number, f"the verdict is undecided{again}"))
    if not _removes_voice(policy, state):
        voice = "no voice-over" if policy.voice is VoicePolicy.VOICE_OVER else "no voice"
        why = f"{voice} in the coarse audio{again}"
        return _publish(Ending(OutcomeKind.DONE, Stem.COARSE, number, number, why))
    if not state.separated:
        return Action(Step.SEPARATE, number)
    if state.silent is None:
        return Action(Step.CHECK_SILENCE, number)
    if state.silent:
        return None
    why = f"the voice was removed{again}"
    return _publish(Ending(OutcomeKind.DONE, Stem.BACKGROUND, number, number, why))


def _removes_voice(policy: Policy, state: Round) -> bool:
    if state.verdict is Verdict.YES:
        return True
    # With --voice all, a reasoner that can't tell whether anybody speaks (None) is no reason to keep voices.
    return policy.voice is VoicePolicy.ALL and state.voice_heard is not False


def _publish(ending: Ending) -> Action:
    return Action(Step.PUBLISH, ending.round, ending)


def _review(round_number: int, deciding_round: int | None, why: str) -> Ending:
    sentence = f"{why}; a person decides, the coarse audio is kept"
    return Ending(OutcomeKind.NEEDS_REVIEW, None, round_number, deciding_round, sentence)
