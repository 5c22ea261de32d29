"""The decision table: every path ends, no audio is published unjudged, and each ending names what decided it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsound.cot import Verdict
from deepsound.pipeline import Fallback, OutcomeKind, Policy, Stem, Step, VoicePolicy
from tests.decision_paths import POLICIES, Path, RoundScript, Script, every_path, follow

NEG = Policy(Fallback.NEG, VoicePolicy.VOICE_OVER)
YES, NO, UNDECIDED = Verdict.YES, Verdict.NO, Verdict.UNDECIDED


def finds(verdict: Verdict, silent: bool = False, heard: bool | None = True) -> RoundScript:
    return RoundScript(verdict, heard, silent)


def path(policy: Policy, first: RoundScript, second: RoundScript | None = None, *, plan: bool = True) -> Path:
    return follow(policy, Script(plan, (first, second or first)))


def steps(taken: Path) -> list[tuple[Step, int]]:
    return [(step, number) for step, number, _ in taken.steps]


def test_coarse_audio_without_voice_over_is_published_unchanged():
    taken = path(NEG, finds(NO))
    assert steps(taken) == [(Step.PLAN, 1), (Step.GENERATE, 1), (Step.JUDGE, 1), (Step.PUBLISH, 1)]
    assert (taken.ending.kind, taken.ending.audio) == (OutcomeKind.DONE, Stem.COARSE)
    assert taken.ending.deciding_round == 1


def test_voice_over_is_removed_and_the_background_published():
    taken = path(NEG, finds(YES))
    assert steps(taken)[3:] == [(Step.SEPARATE, 1), (Step.CHECK_SILENCE, 1), (Step.PUBLISH, 1)]
    assert (taken.ending.kind, taken.ending.audio, taken.ending.round) == (OutcomeKind.DONE, Stem.BACKGROUND, 1)
    assert taken.ending.deciding_round == 1


@pytest.mark.parametrize(
    ("fallback", "kind", "audio"),
    [(Fallback.RM, OutcomeKind.REMOVED, None), (Fallback.REP, OutcomeKind.DONE, Stem.COARSE)],
)
def test_where_silence_is_left_rm_publishes_no_sound_and_rep_the_coarse_audio(
    fallback: Fallback, kind: OutcomeKind, audio: Stem | None
):
    taken = path(Policy(fallback, VoicePolicy.VOICE_OVER), finds(YES, silent=True))
    assert steps(taken)[-2:] == [(Step.FALL_BACK, 1), (Step.PUBLISH, 1)]
    assert (taken.ending.kind, taken.ending.audio) == (kind, audio)
    assert taken.ending.deciding_round == 1, "its verdict had the voice removed, which left silence"


def test_audio_that_the_neg_fallback_generates_is_judged_and_that_judgement_decides():
    taken = path(NEG, finds(YES, silent=True), finds(NO))
    expected = [(Step.FALL_BACK, 1), (Step.GENERATE, 2), (Step.JUDGE, 2), (Step.PUBLISH, 2)]
    assert steps(taken)[-4:] == expected
    assert (taken.ending.kind, taken.ending.audio, taken.ending.round) == (OutcomeKind.DONE, Stem.COARSE, 2)
    assert taken.ending.deciding_round == 2


def test_the_neg_fallback_happens_once_and_a_person_decides_where_silence_is_left_again():
    taken = path(NEG, finds(YES, silent=True))
    assert [step for step, _ in steps(taken)].count(Step.FALL_BACK) == 1
    assert taken.ending.kind is OutcomeKind.NEEDS_REVIEW
    assert taken.ending.deciding_round == 2


@pytest.mark.parametrize(
    ("rounds", "deciding_round"),
    [((finds(UNDECIDED), finds(NO)), 1), ((finds(YES, silent=True), finds(UNDECIDED)), 2)],
    ids=["round 1", "round 2"],
)
def test_an_undecided_verdict_needs_review_and_keeps_the_coarse_audio(
    rounds: tuple[RoundScript, RoundScript], deciding_round: int
):
    ending = path(NEG, *rounds).ending
    assert (ending.kind, ending.audio) == (OutcomeKind.NEEDS_REVIEW, None)
    assert ending.deciding_round == deciding_round


def test_an_unreadable_plan_needs_review_once_the_coarse_audio_is_generated_and_no_judgement_decides():
    taken = path(NEG, finds(NO), plan=False)
    assert steps(taken) == [(Step.PLAN, 1), (Step.GENERATE, 1), (Step.PUBLISH, 1)]
    assert taken.ending.kind is OutcomeKind.NEEDS_REVIEW
    assert taken.ending.deciding_round is None


@pytest.mark.parametrize(("heard", "is_removed"), [(True, True), (None, True), (False, False)])
def test_an_m_and_e_delivery_loses_every_voice_it_may_have(heard: bool | None, is_removed: bool):
    taken = path(Policy(Fallback.RM, VoicePolicy.ALL), finds(NO, heard=heard))
    assert ((Step.SEPARATE, 1) in steps(taken)) is is_removed


def test_a_review_replaces_the_verdict_and_its_round_decides():
    taken = follow(NEG, Script(True, (finds(UNDECIDED), finds(NO)), review=YES))
    assert steps(taken)[-3:] == [(Step.SEPARATE, 1), (Step.CHECK_SILENCE, 1), (Step.PUBLISH, 1)]
    assert (taken.ending.deciding_round, taken.reviewed_round) == (1, 1)


def test_after_a_review_that_leaves_silence_the_judgement_of_round_2_decides():
    taken = follow(NEG, Script(True, (finds(UNDECIDED, silent=True), finds(NO)), review=YES))
    assert (taken.ending.deciding_round, taken.reviewed_round) == (2, 1)


@pytest.mark.parametrize("policy", POLICIES)
def test_at_every_ending_the_latest_judgement_decided(policy: Policy):
    paths = every_path(policy)
    assert len(paths) > 10
    for taken in paths.values():
        judged = [number for step, number in steps(taken) if step is Step.JUDGE]
        assert taken.ending.deciding_round == max(judged, default=None)
        assert taken.ending.round == (taken.ending.deciding_round or 1)


FOUND = st.builds(RoundScript, st.sampled_from(Verdict), st.sampled_from([True, False, None]), st.booleans())
SCRIPTS = st.builds(Script, st.booleans(), st.tuples(FOUND, FOUND), st.none())


@given(st.sampled_from(POLICIES), SCRIPTS)
def test_every_path_ends_with_one_ending_that_gives_a_reason(policy: Policy, script: Script):
    taken = follow(policy, script)
    assert [step for step, _ in steps(taken)].count(Step.PUBLISH) == 1
    assert taken.steps[-1][0] is Step.PUBLISH
    assert taken.ending.why
    assert len(set(steps(taken))) == len(taken.steps), "no step is done twice in a round"


@given(st.sampled_from(POLICIES), SCRIPTS)
def test_no_path_publishes_audio_that_was_not_judged(policy: Policy, script: Script):
    taken = follow(policy, script)
    if taken.ending.audio is not None:
        assert taken.ending.deciding_round == taken.ending.round
        assert (Step.JUDGE, taken.ending.round) in steps(taken)
        assert script.rounds[taken.ending.round - 1].verdict is not UNDECIDED


@given(st.sampled_from(POLICIES), SCRIPTS)
def test_coarse_audio_with_a_voice_is_published_only_by_the_fallback_rep(policy: Policy, script: Script):
    ending = follow(policy, script).ending
    if ending.audio is Stem.COARSE and script.rounds[ending.round - 1].verdict is YES:
        assert policy.fallback is Fallback.REP
