"""Records the fallback taken where removing the voice left silence: no sound, the coarse audio, or round 2."""

from db.schema.records import Decision, StepRef
from deepsound.pipeline import Action, Fallback, Step
from deepsound.spans import Span
from tasks.runtime.item import Item
from tasks.runtime.item_footage import load_footage
from tasks.steps.check_silence import SILENT
from tasks.steps.contract import SoundChange, StepContext, StepInputs, StepOutput

VERSION = "1"

_OPERATION = {
    Fallback.NEG: "generate_again",
    Fallback.REP: "restore_coarse",
    Fallback.RM: "withhold",
}


def inputs(item: Item, action: Action) -> StepInputs:
    """The run's fallback, the coarse audio and the silent background."""
    return StepInputs(
        backend=str(item.settings.fallback),
        version=VERSION,
        artifacts={
            "coarse": item.coarse(action.round),
            "background": item.artifact(StepRef(Step.SEPARATE, action.round), "background"),
        },
    )


def execute(context: StepContext) -> StepOutput:
    """Record the fallback; the decision table chooses the steps that follow."""
    item, round_number = context.item, context.action.round
    mode = item.settings.fallback
    footage = load_footage(item, context.store, context.footage_cache)
    return StepOutput(
        result={"mode": mode},
        decisions=[Decision("fallback", mode)],
        changes=[
            SoundChange(
                operation=_OPERATION[mode],
                span=Span(0.0, footage.info.duration),
                before=item.artifact(StepRef(Step.SEPARATE, round_number), "background").sha256,
                replaced_by=item.coarse(round_number).sha256 if mode is Fallback.REP else None,
                because=item.decision(StepRef(Step.CHECK_SILENCE, round_number), SILENT),
            )
        ],
    )
