"""Step 1: coarse audio from the video; in round 2, against human voice."""

from pathlib import Path

from deepsound.cot import HUMAN_VOICE
from deepsound.generation.protocol import GenerationRequest
from deepsound.pipeline import Action
from tasks.runtime.item import PLAN, ItemInProgress
from tasks.steps.contract import MadeFile, StepInputs, StepOutput

VERSION = "1"


def inputs(job: ItemInProgress, action: Action) -> StepInputs:
    """The video, what was seen of it, the prompts and the seed."""
    generator = job.generator(action.round)
    return StepInputs(
        backend=generator.name,
        version=f"{VERSION}/{generator.version}",
        models=generator.models,
        parameters={"prompt": job.settings.prompt, "negative_prompt": _negative_prompt(job, action)},
        seed=job.settings.seed,
        video=job.whole,
        artifacts={"observations": job.made(PLAN, "observations"), **job.picture},
    )


def execute(job: ItemInProgress, action: Action, scratch: Path) -> StepOutput:
    """Generate, exactly as long as the picture."""
    coarse = scratch / "coarse.wav"
    with job.video() as video:
        request = GenerationRequest(
            video=video,
            footage=job.footage(),
            prompt=job.settings.prompt,
            negative_prompt=_negative_prompt(job, action),
            seed=job.settings.seed,
        )
        made = job.generator(action.round).generate(request, coarse)
    return StepOutput(
        result={
            "sample_rate": made.sample_rate,
            "channels": made.channels,
            "samples": made.samples,
            "notes": dict(made.notes),
        },
        files={"coarse": MadeFile(coarse, "audio/wav")},
    )


def _negative_prompt(job: ItemInProgress, action: Action) -> str:
    """The user's; in round 2 with "human voice" before it (the reference drops the user's there)."""
    asked = job.settings.negative_prompt
    if action.round == 1:
        return asked
    return f"{HUMAN_VOICE}, {asked}" if asked else HUMAN_VOICE
