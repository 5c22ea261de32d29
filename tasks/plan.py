"""Step 0: look at the video, once, and ask the reasoner for a plan."""

from pathlib import Path

from db.records import Decision
from deepsound import cot
from deepsound.backends import load_reasoner
from deepsound.media.decode import save_observations
from deepsound.pipeline import Action
from tasks.job import Job
from tasks.step import MadeFile, StepInputs, StepOutput

VERSION = "1"


def inputs(job: Job, action: Action) -> StepInputs:  # noqa: ARG001 - every step module has this signature
    """The video's bytes, the reasoner, and what each observer would keep of the picture."""
    reasoner = load_reasoner(job.settings.reasoner)
    return StepInputs(
        backend=reasoner.name,
        version=f"{VERSION}/{reasoner.version}",
        models=reasoner.models,
        parameters={"observers": tuple(sorted(f"{each.name}/{each.version}" for each in job.observers()))},
        video=job.video_sha256,
    )


def execute(job: Job, action: Action, scratch: Path) -> StepOutput:  # noqa: ARG001 - every step has it
    """Decode, keep what the observers saw, and parse the plan."""
    footage = job.look()
    kept = scratch / "observations.safetensors"
    save_observations(footage.observations, kept)
    testimony = load_reasoner(job.settings.reasoner).plan(footage)
    plan = cot.parse_plan(testimony.raw)
    return StepOutput(
        result={
            "accepted": plan.accepted,
            "reason": plan.reason,
            "decoder": footage.decoder,
            "frames": footage.frames,
            "damage": footage.damage,
        },
        files={"observations": MadeFile(kept, "application/x-safetensors")},
        template=cot.PLAN_PROMPT,
        prompt=testimony.prompt,
        raw=testimony.raw,
        parser_version=cot.PARSER_VERSION,
        frames=testimony.frames,
        decisions=[
            Decision(
                key="plan",
                value="accepted" if plan.accepted else "undecided",
                span=(0, len(testimony.raw)),
                parser_version=cot.PARSER_VERSION,
            )
        ],
    )
