"""What the decision table is told: read back from an item's finished steps, however far it got."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from db.schema.records import FinishedStep, StepRef
from deepsound.cot import Verdict
from deepsound.pipeline import ChainState, Fallback, Policy, Round, Step, VoicePolicy, next_action
from tasks.runtime.item import chain_state

History = dict[StepRef, FinishedStep]


def finished(at: StepRef, **result: object) -> FinishedStep:
    return FinishedStep(at, 1, "backend", result, None, (), {})


def history(*steps: FinishedStep) -> History:
    return {step.at: step for step in steps}


PLANNED = finished(StepRef(Step.PLAN), accepted=True)
GENERATED = finished(StepRef(Step.GENERATE), sample_rate=48_000)
JUDGED_YES = finished(StepRef(Step.JUDGE), verdict="yes", voice_heard=True)
SEPARATED = finished(StepRef(Step.SEPARATE))
SILENT = finished(StepRef(Step.CHECK_SILENCE), silent=True)


def test_nothing_is_known_of_an_item_nobody_touched():
    assert chain_state({}) == ChainState()


def test_a_plan_that_could_not_be_read_is_known_as_such():
    assert chain_state(history(finished(StepRef(Step.PLAN), accepted=False))).plan_accepted is False


def test_a_judged_item_is_known_with_verdict_and_whether_a_voice_was_heard():
    known = chain_state(history(PLANNED, GENERATED, JUDGED_YES))
    assert known.first == Round(generated=True, verdict=Verdict.YES, voice_heard=True)


def test_a_reasoner_that_cannot_tell_whether_somebody_speaks_leaves_that_unknown():
    judged = finished(StepRef(Step.JUDGE), verdict="undecided", voice_heard=None)
    assert chain_state(history(PLANNED, GENERATED, judged)).first.voice_heard is None


def test_the_two_rounds_are_told_apart():
    fell_back = finished(StepRef(Step.FALL_BACK), mode="neg")
    again = finished(StepRef(Step.GENERATE, 2))
    known = chain_state(history(PLANNED, GENERATED, JUDGED_YES, SEPARATED, SILENT, fell_back, again))
    assert known.fell_back is Fallback.NEG
    assert known.first == Round(generated=True, verdict=Verdict.YES, voice_heard=True, separated=True, silent=True)
    assert known.second == Round(generated=True)


def test_a_published_item_has_nothing_left_to_do():
    known = chain_state(history(PLANNED, GENERATED, finished(StepRef(Step.PUBLISH, 2), outcome="done")))
    assert known.published
    assert next_action(Policy(Fallback.RM, VoicePolicy.ALL), known) is None


def test_what_a_person_ruled_goes_before_the_judge_in_its_round_alone():
    done = history(
        PLANNED, GENERATED, JUDGED_YES, finished(StepRef(Step.JUDGE, 2), verdict="no", voice_heard=None)
    )
    known = chain_state(done, {StepRef(Step.JUDGE): Verdict.NO})
    assert (known.first.verdict, known.first.voice_heard) == (Verdict.NO, False)
    assert known.second.verdict is Verdict.NO
    assert known.second.voice_heard is None
    action = next_action(Policy(Fallback.RM, VoicePolicy.ALL), known)
    assert action is not None
    assert action.step is Step.PUBLISH, "who says no has heard the voices that --voice all would take out"


RESULTS = {
    Step.PLAN: st.fixed_dictionaries({"accepted": st.booleans()}),
    Step.JUDGE: st.fixed_dictionaries(
        {"verdict": st.sampled_from([*map(str, Verdict)]), "voice_heard": st.sampled_from([True, False, None])}
    ),
    Step.CHECK_SILENCE: st.fixed_dictionaries({"silent": st.booleans()}),
    Step.PUBLISH: st.just({"outcome": "done"}),
}


@given(st.sampled_from(Fallback), st.sampled_from(VoicePolicy), st.data())
def test_an_item_taken_up_from_its_history_never_does_a_step_twice_and_ends(
    fallback: Fallback, voice: VoicePolicy, data: st.DataObject
):
    policy, done = Policy(fallback, voice), History()
    for steps in count():
        # What a worker that takes the item up now knows: rows in whatever order the database gave them.
        shuffled = dict(data.draw(st.permutations(list(done.items()))))
        assert chain_state(shuffled) == chain_state(done)
        action = next_action(policy, chain_state(done))
        if action is None:
            break
        assert steps < 12
        at = StepRef(action.step, action.round)
        assert at not in done
        asked = {"mode": str(fallback)} if action.step is Step.FALL_BACK else {}
        done[at] = finished(at, **asked, **data.draw(RESULTS.get(action.step, st.just({}))))
    assert sum(at.step is Step.PUBLISH for at in done) == 1
