"""Every path through the decision table, as scripts of what each step finds and what a person then decides."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from deepsound.cot import Verdict
from deepsound.pipeline import ChainState, Ending, Fallback, Policy, Round, Step, VoicePolicy, next_action

POLICIES = [Policy(fallback, voice) for fallback in Fallback for voice in VoicePolicy]


class RoundScript(NamedTuple):
    """What the steps of a round find."""

    verdict: Verdict
    voice_heard: bool | None
    silent: bool


class Script(NamedTuple):
    """What the steps of an item find. `review`: a person's verdict on the judgement that decided, if any."""

    plan_accepted: bool
    rounds: tuple[RoundScript, RoundScript]
    review: Verdict | None = None


class Path(NamedTuple):
    """The steps of an item with what each found; its ending; the round that was reviewed, None if none was."""

    steps: tuple[tuple[Step, int, object], ...]
    ending: Ending
    reviewed_round: int | None


def every_path(policy: Policy) -> dict[Script, Path]:
    """One script for each path, in which the answers that the path does not ask for may be anything."""
    paths = {path: script for script in _every_script(policy) for path in [follow(policy, script)]}
    return {script: path for path, script in paths.items()}


def follow(policy: Policy, script: Script) -> Path:
    """Follow the decision table from a new item to its end, and again after its review."""
    state, steps, reviewed_round = ChainState(), list[tuple[Step, int, object]](), None
    while True:
        action = next_action(policy, state)
        assert action is not None
        assert len(steps) < 30, "the path does not end"
        found = _found(script, action.step, action.round)
        steps.append((action.step, action.round, found))
        if action.ending is None:
            state = _after(state, action.step, action.round, found, policy)
            continue
        decided = action.ending.deciding_round
        if script.review is None or decided is None or reviewed_round is not None:
            return Path(tuple(steps), action.ending, reviewed_round)
        state, reviewed_round = _reviewed(state, decided, script.review), decided


def _every_script(policy: Policy) -> Iterator[Script]:
    judged = [(verdict, True) for verdict in Verdict]
    if policy.voice is VoicePolicy.ALL:
        judged.append((Verdict.NO, False))  # Elsewhere it makes no difference whether a voice is heard.
    rounds = [RoundScript(*found, silent) for found, silent in product(judged, (False, True))]
    for plan_accepted, first, second in product((False, True), rounds, rounds):
        for review in (None, Verdict.YES, Verdict.NO):
            yield Script(plan_accepted, (first, second), review)


def _found(script: Script, step: Step, number: int) -> object:
    found = script.rounds[number - 1]
    match step:
        case Step.PLAN:
            return script.plan_accepted
        case Step.JUDGE:
            return found.verdict, found.voice_heard
        case Step.CHECK_SILENCE:
            return found.silent
        case _:
            return None


def _after(state: ChainState, step: Step, number: int, found: object, policy: Policy) -> ChainState:
    """The state once a step has found this."""
    changes: dict[str, object] = {}
    match step:
        case Step.PLAN:
            return replace(state, plan_accepted=found)
        case Step.FALL_BACK:
            return replace(state, fell_back=policy.fallback)
        case Step.GENERATE:
            changes = {"generated": True}
        case Step.JUDGE:
            changes = dict(zip(("verdict", "voice_heard"), found, strict=True))
        case Step.SEPARATE:
            changes = {"separated": True}
        case Step.CHECK_SILENCE:
            changes = {"silent": found}
    return _with_round(state, number, **changes)


def _reviewed(state: ChainState, number: int, verdict: Verdict) -> ChainState:
    """The state once a person has decided: all steps after the judgement are taken back."""
    state = _with_round(
        state, number, verdict=verdict, voice_heard=verdict is Verdict.YES, separated=False, silent=None
    )
    return replace(state, fell_back=None, second=Round()) if number == 1 else state


def _with_round(state: ChainState, number: int, **changes: object) -> ChainState:
    name = "first" if number == 1 else "second"
    return replace(state, **{name: replace(getattr(state, name), **changes)})
