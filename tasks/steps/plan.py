"""Step 0: decodes the video once, and takes the protocol's plan or asks the reasoner for one."""

import mimetypes

from db.schema.records import Decision
from deepsound import cot
from deepsound.backends import load_reasoner
from deepsound.canonical_json import Json
from deepsound.media.media_info import Excerpt
from deepsound.media.observation_files import save_observations
from deepsound.media.observers import Footage
from deepsound.pipeline import Action
from deepsound.reasoning.protocol import Reply
from tasks.runtime.backend_choice import make_observers
from tasks.runtime.item import Item
from tasks.runtime.item_footage import decode_footage
from tasks.runtime.run_settings import PlanSource, RunSettings
from tasks.runtime.source_access import EXCERPT, cut_part, registered_sha256
from tasks.steps.contract import MadeFile, StepContext, StepInputs, StepOutput
from tasks.steps.judge import reply_cost

VERSION = "2"


def inputs(item: Item, action: Action) -> StepInputs:  # noqa: ARG001 - every step module has this signature
    """The video, the observers of the picture, the item's time range, and the reasoner where it is asked."""
    parameters: dict[str, Json] = {
        "observers": tuple(sorted(f"{each.name}/{each.version}" for each in make_observers(item.settings)))
    }
    if item.part is not None:
        parameters[EXCERPT] = item.part.to_json()
    video = registered_sha256(item)
    if item.settings.plan is PlanSource.CONSTANT:
        version = f"{VERSION}/{cot.PARSER_VERSION}"
        return StepInputs(backend=PlanSource.CONSTANT, version=version, parameters=parameters, video=video)
    reasoner = load_reasoner(item.settings.reasoner)
    return StepInputs(
        backend=reasoner.name,
        version=f"{VERSION}/{reasoner.version}/{cot.PARSER_VERSION}",
        models=reasoner.models,
        parameters={**parameters, "prompt": cot.PLAN_PROMPT},
        video=video,
    )


def execute(context: StepContext) -> StepOutput:
    """Cut the excerpt if the item is a time range, decode, store the observations, and parse the plan."""
    item, store = context.item, context.store
    cut = context.scratch / EXCERPT
    excerpt = None if item.part is None else cut_part(item, item.part, store, cut)
    footage = decode_footage(item, store, context.footage_cache, None if excerpt is None else cut)
    observations = context.scratch / "observations.safetensors"
    save_observations(footage.observations, observations)
    reply = _plan_reply(item.settings, footage)
    plan = cot.parse_plan(reply.raw)
    return StepOutput(
        result={
            "accepted": plan.accepted,
            "reason": plan.reason,
            "source": item.settings.plan,
            "decoder": footage.decoder,
            "frames": footage.frames,
            "damage": footage.damage,
            "parameters": dict(reply.parameters),
            **reply_cost(reply),
            **({} if excerpt is None else {EXCERPT: _excerpt_json(excerpt)}),
        },
        files={
            "observations": MadeFile(observations, "application/x-safetensors"),
            **({} if excerpt is None else {EXCERPT: MadeFile(cut, mimetypes.types_map[excerpt.suffix])}),
        },
        template=cot.PLAN_PROMPT,
        prompt=reply.prompt,
        raw=reply.raw,
        parser_version=cot.PARSER_VERSION,
        frames=reply.frames,
        decisions=[
            Decision(
                key="plan",
                value="accepted" if plan.accepted else "undecided",
                span=(0, len(reply.raw)),
                parser_version=cot.PARSER_VERSION,
            )
        ],
    )


def _excerpt_json(excerpt: Excerpt) -> Json:
    """The time range that was cut: of whole frames, so it may differ from the one that was asked for."""
    return {"start": excerpt.start, "end": excerpt.end, "frames": excerpt.frames}


def _plan_reply(settings: RunSettings, footage: Footage) -> Reply:
    """The plan as text. With greedy decoding the released model gives the protocol's own for every video."""
    if settings.plan is PlanSource.CONSTANT:
        return Reply(raw=cot.PLAN, prompt=cot.PLAN_PROMPT)
    return load_reasoner(settings.reasoner).plan(footage)
