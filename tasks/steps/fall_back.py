"""Step 4's way out when nothing is left: nothing out, the coarse audio back, or generate against voices."""

from pathlib import Path

from db.schema.records import Decision, StepRef
from deepsound.pipeline import Action, Fallback, Step
from deepsound.spans import Span
from tasks.runtime.item import ItemInProgress
from tasks.steps.check_silence import SILENT
from tasks.steps.contract import SoundChange, StepInputs, StepOutput

VERSION = "1"

_OPERATION = {
    Fallback.NEG: "generate_again",
    Fallback.REP: "restore_coarse",
    Fallback.RM: "withhold",
}


def inputs(job: ItemInProgress, action: Action) -> StepInputs:
    """The fallback asked for, and the audio that turned out silent."""
    return StepInputs(
        backend=str(job.settings.fallback),
        version=VERSION,
        artifacts={
            "coarse": job.coarse(action.round),
            "background": job.made(StepRef(Step.SEPARATE, action.round), "background"),
        },
    )


def execute(job: ItemInProgress, action: Action, scratch: Path) -> StepOutput:  # noqa: ARG001 - every step has it
    """Record which way is taken; the decision table sees to the rest."""
    mode = job.settings.fallback
    return StepOutput(
        result={"mode": mode},
        decisions=[Decision("fallback", mode)],
        changes=[
            SoundChange(
                operation=_OPERATION[mode],
                span=Span(0.0, job.footage().info.duration),
                before=job.made(StepRef(Step.SEPARATE, action.round), "background").sha256,
                replaced_by=job.coarse(action.round).sha256 if mode is Fallback.REP else None,
                because=job.decision(StepRef(Step.CHECK_SILENCE, action.round), SILENT),
            )
        ],
    )
