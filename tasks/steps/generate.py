"""Step 1: generates the coarse audio from the video; in round 2 against "human voice"."""

from deepsound.cot import HUMAN_VOICE
from deepsound.generation.protocol import GenerationRequest
from deepsound.pipeline import Action
from tasks.runtime.backend_choice import choose_generator
from tasks.runtime.item import PLAN, Item
from tasks.runtime.item_footage import load_footage
from tasks.runtime.source_access import excerpt_input, open_video, whole_video_input
from tasks.steps.contract import MadeFile, StepContext, StepInputs, StepOutput

VERSION = "1"


def inputs(item: Item, action: Action) -> StepInputs:
    """The video, its observations, the generator, the prompts and the seed."""
    generator = choose_generator(item.settings, action.round)
    return StepInputs(
        backend=generator.name,
        version=f"{VERSION}/{generator.version}",
        models=generator.models,
        parameters={"prompt": item.settings.prompt, "negative_prompt": _negative_prompt(item, action)},
        seed=item.settings.seed,
        video=whole_video_input(item),
        artifacts={"observations": item.artifact(PLAN, "observations"), **excerpt_input(item)},
    )


def execute(context: StepContext) -> StepOutput:
    """Generate sound that is exactly as long as the picture."""
    item, action = context.item, context.action
    coarse = context.scratch / "coarse.wav"
    with open_video(item, context.store) as video:
        request = GenerationRequest(
            video=video,
            footage=load_footage(item, context.store, context.footage_cache),
            prompt=item.settings.prompt,
            negative_prompt=_negative_prompt(item, action),
            seed=item.settings.seed,
        )
        generated = choose_generator(item.settings, action.round).generate(request, coarse)
    return StepOutput(
        result={
            "sample_rate": generated.sample_rate,
            "channels": generated.channels,
            "samples": generated.samples,
            "notes": dict(generated.notes),
        },
        files={"coarse": MadeFile(coarse, "audio/wav")},
    )


def _negative_prompt(item: Item, action: Action) -> str:
    """The run's negative prompt, in round 2 after "human voice". The reference drops the run's in round 2."""
    prompt = item.settings.negative_prompt
    if action.round == 1:
        return prompt
    return f"{HUMAN_VOICE}, {prompt}" if prompt else HUMAN_VOICE
