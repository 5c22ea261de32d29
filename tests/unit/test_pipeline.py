"""The decision table: every path ends, and nothing is published that nobody judged."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsound.cot import Verdict
from deepsound.pipeline import (
    Action,
    ChainState,
    Ending,
    Fallback,
    OutcomeKind,
    Policy,
    Round,
    Stem,
    Step,
    VoicePolicy,
    next_action,
)

NEG = Policy(Fallback.NEG, VoicePolicy.VOICE_OVER)


def learn(known: ChainState, action: Action, answers: dict[Step, object], fallback: Fallback) -> ChainState:
    """What is known after `action`, given what each kind of step answers."""
    round_name = "first" if action.round == 1 else "second"
    current: Round = getattr(known, round_name)
    match action.step:
        case Step.PLAN:
            return replace(known, plan_accepted=answers[Step.PLAN])
        case Step.GENERATE:
            current = replace(current, generated=True)
        case Step.JUDGE:
            verdict, heard = answers[Step.JUDGE]
            current = replace(current, verdict=verdict, voice_heard=heard)
        case Step.SEPARATE:
            current = replace(current, separated=True)
        case Step.CHECK_SILENCE:
            current = replace(current, silent=answers[Step.CHECK_SILENCE])
        case Step.FALL_BACK:
            return replace(known, fell_back=fallback)
        case Step.PUBLISH:
            return replace(known, published=True)
    return replace(known, **{round_name: current})


def run(policy: Policy, rounds: list[dict[Step, object]]) -> tuple[list[tuple[Step, int]], Ending]:
    """Follow the table to its end; `rounds` are the answers of round 1 and round 2."""
    known, path, ending = ChainState(), [], None
    while (action := next_action(policy, known)) is not None:
        path.append((action.step, action.round))
        assert len(path) < 20, "the path does not end"
        ending = action.ending or ending
        known = learn(known, action, rounds[action.round - 1], policy.fallback)
    assert ending is not None
    return path, ending


def answers(verdict: Verdict, silent: bool = False, heard: bool | None = True, plan: bool = True) -> dict:
    return {Step.PLAN: plan, Step.JUDGE: (verdict, heard), Step.CHECK_SILENCE: silent}


YES, NO, UNDECIDED = Verdict.YES, Verdict.NO, Verdict.UNDECIDED


def test_clean_coarse_audio_is_published_as_it_is():
    path, ending = run(NEG, [answers(NO)] * 2)
    assert [step for step, _ in path] == [Step.PLAN, Step.GENERATE, Step.JUDGE, Step.PUBLISH]
    assert (ending.kind, ending.audio) == (OutcomeKind.DONE, Stem.COARSE)


def test_voice_over_is_removed_and_the_background_published():
    path, ending = run(NEG, [answers(YES)] * 2)
    assert [step for step, _ in path][3:] == [Step.SEPARATE, Step.CHECK_SILENCE, Step.PUBLISH]
    assert (ending.kind, ending.audio, ending.round) == (OutcomeKind.DONE, Stem.BACKGROUND, 1)


@pytest.mark.parametrize(
    ("fallback", "kind", "audio"),
    [(Fallback.RM, OutcomeKind.REMOVED, None), (Fallback.REP, OutcomeKind.DONE, Stem.COARSE)],
)
def test_silence_takes_the_fallback_asked_for(fallback: Fallback, kind: OutcomeKind, audio: Stem | None):
    path, ending = run(Policy(fallback, VoicePolicy.VOICE_OVER), [answers(YES, silent=True)] * 2)
    assert path[-2:] == [(Step.FALL_BACK, 1), (Step.PUBLISH, 1)]
    assert (ending.kind, ending.audio) == (kind, audio)


def test_what_the_neg_fallback_made_is_judged_again():
    path, ending = run(NEG, [answers(YES, silent=True), answers(NO)])
    assert path[-4:] == [(Step.FALL_BACK, 1), (Step.GENERATE, 2), (Step.JUDGE, 2), (Step.PUBLISH, 2)]
    assert (ending.kind, ending.audio, ending.round) == (OutcomeKind.DONE, Stem.COARSE, 2)


def test_the_neg_fallback_happens_once():
    path, ending = run(NEG, [answers(YES, silent=True)] * 2)
    assert [step for step, _ in path].count(Step.FALL_BACK) == 1
    assert ending.kind is OutcomeKind.NEEDS_REVIEW


@pytest.mark.parametrize("rounds", [[answers(UNDECIDED)] * 2, [answers(YES, silent=True), answers(UNDECIDED)]])
def test_an_undecided_verdict_needs_review_and_keeps_the_coarse_audio(rounds: list[dict]):
    _, ending = run(NEG, rounds)
    assert (ending.kind, ending.audio) == (OutcomeKind.NEEDS_REVIEW, None)


def test_an_unreadable_plan_needs_review_after_the_coarse_audio_is_made():
    path, ending = run(NEG, [answers(NO, plan=False)] * 2)
    assert path == [(Step.PLAN, 1), (Step.GENERATE, 1), (Step.PUBLISH, 1)]
    assert ending.kind is OutcomeKind.NEEDS_REVIEW


@pytest.mark.parametrize(("heard", "goes"), [(True, True), (None, True), (False, False)])
def test_an_m_and_e_delivery_loses_every_voice_it_may_have(heard: bool | None, goes: bool):
    path, _ = run(Policy(Fallback.RM, VoicePolicy.ALL), [answers(NO, heard=heard)] * 2)
    assert ((Step.SEPARATE, 1) in path) is goes


ANSWERS = st.builds(
    answers,
    st.sampled_from(Verdict),
    silent=st.booleans(),
    heard=st.sampled_from([True, False, None]),
    plan=st.booleans(),
)
POLICIES = st.builds(Policy, st.sampled_from(Fallback), st.sampled_from(VoicePolicy))


@given(POLICIES, ANSWERS, ANSWERS)
def test_every_path_ends_with_one_reasoned_ending(policy: Policy, first: dict, second: dict):
    path, ending = run(policy, [first, second])
    assert [step for step, _ in path].count(Step.PUBLISH) == 1
    assert path[-1][0] is Step.PUBLISH
    assert ending.why
    assert len(set(path)) == len(path), "no step is done twice in a round"


@given(POLICIES, ANSWERS, ANSWERS)
def test_no_path_publishes_audio_that_nobody_judged(policy: Policy, first: dict, second: dict):
    path, ending = run(policy, [first, second])
    if ending.audio is not None:
        assert (Step.JUDGE, ending.round) in path
        assert [first, second][ending.round - 1][Step.JUDGE][0] is not Verdict.UNDECIDED


@given(POLICIES, ANSWERS, ANSWERS)
def test_a_voice_judged_present_is_published_only_where_the_user_asked_to_put_it_back(
    policy: Policy, first: dict, second: dict
):
    _, ending = run(policy, [first, second])
    if ending.audio is Stem.COARSE and [first, second][ending.round - 1][Step.JUDGE][0] is Verdict.YES:
        assert policy.fallback is Fallback.REP
