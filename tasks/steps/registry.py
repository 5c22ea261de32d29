"""The module of each step."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from deepsound.pipeline import Action, Step
from tasks.runtime.item import Item
from tasks.steps import check_silence, fall_back, generate, judge, plan, publish, separate
from tasks.steps.contract import StepContext, StepInputs, StepOutput


class StepFunctions(NamedTuple):
    """The two functions of a step module."""

    inputs: Callable[[Item, Action], StepInputs]
    execute: Callable[[StepContext], StepOutput]


STEPS: Mapping[Step, StepFunctions] = {
    Step.PLAN: StepFunctions(plan.inputs, plan.execute),
    Step.GENERATE: StepFunctions(generate.inputs, generate.execute),
    Step.JUDGE: StepFunctions(judge.inputs, judge.execute),
    Step.SEPARATE: StepFunctions(separate.inputs, separate.execute),
    Step.CHECK_SILENCE: StepFunctions(check_silence.inputs, check_silence.execute),
    Step.FALL_BACK: StepFunctions(fall_back.inputs, fall_back.execute),
    Step.PUBLISH: StepFunctions(publish.inputs, publish.execute),
}
