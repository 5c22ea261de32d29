"""Step 4: is anything left once the voice is gone?"""

from pathlib import Path

from db.records import Decision, StepRef
from deepsound import silence
from deepsound.pipeline import Action, Step
from tasks.job import Job
from tasks.step import StepInputs, StepOutput

VERSION = "1"

SILENT = "silent"
"""The key of the decision this step makes."""


def inputs(job: Job, action: Action) -> StepInputs:
    """The background stem and the thresholds."""
    return StepInputs(
        backend="rms",
        version=VERSION,
        parameters={"quiet_dbfs": silence.QUIET_DBFS, "quiet_share": silence.QUIET_SHARE},
        artifacts={"background": job.made(StepRef(Step.SEPARATE, action.round), "background")},
    )


def execute(job: Job, action: Action, scratch: Path) -> StepOutput:  # noqa: ARG001 - every step has it
    """Measure it."""
    kept = job.made(StepRef(Step.SEPARATE, action.round), "background")
    with job.worker.store.local(kept.sha256) as background:
        measured = silence.measure_silence(background)
    return StepOutput(
        result={"silent": measured.is_silent, "quiet_share": measured.quiet_share},
        decisions=[Decision(SILENT, "yes" if measured.is_silent else "no")],
    )
