"""Step 0: look at the video, once, and have a plan: the protocol's own, or the reasoner's where it is asked."""

import mimetypes
from pathlib import Path

from db.schema.records import Decision
from deepsound import cot
from deepsound.backends import load_reasoner
from deepsound.canonical_json import Json
from deepsound.media.media_info import Excerpt
from deepsound.media.observation_files import save_observations
from deepsound.media.observers import Footage
from deepsound.pipeline import Action
from deepsound.reasoning.protocol import Reply
from tasks.runtime.item import EXCERPT, ItemInProgress
from tasks.runtime.run_settings import PlanSource
from tasks.steps.contract import MadeFile, StepInputs, StepOutput
from tasks.steps.judge import cost

VERSION = "2"


def inputs(job: ItemInProgress, action: Action) -> StepInputs:  # noqa: ARG001 - every step module has this signature
    """The video's bytes, what each observer would keep of the picture, and the reasoner if it is asked."""
    looked: dict[str, Json] = {
        "observers": tuple(sorted(f"{each.name}/{each.version}" for each in job.observers()))
    }
    if job.part is not None:
        looked[EXCERPT] = job.part.to_json()
    if job.settings.plan is PlanSource.CONSTANT:
        version = f"{VERSION}/{cot.PARSER_VERSION}"
        return StepInputs(backend=PlanSource.CONSTANT, version=version, parameters=looked, video=job.registered)
    reasoner = load_reasoner(job.settings.reasoner)
    return StepInputs(
        backend=reasoner.name,
        version=f"{VERSION}/{reasoner.version}/{cot.PARSER_VERSION}",
        models=reasoner.models,
        parameters={**looked, "prompt": cot.PLAN_PROMPT},
        video=job.registered,
    )


def execute(job: ItemInProgress, action: Action, scratch: Path) -> StepOutput:  # noqa: ARG001 - every step has it
    """Cut the excerpt if it is one, decode, keep what the observers saw, and parse the plan."""
    cut = scratch / EXCERPT
    excerpt = None if job.part is None else job.cut(job.part, cut)
    footage = job.look(None if excerpt is None else cut)
    kept = scratch / "observations.safetensors"
    save_observations(footage.observations, kept)
    testimony = _testimony(job, footage)
    plan = cot.parse_plan(testimony.raw)
    return StepOutput(
        result={
            "accepted": plan.accepted,
            "reason": plan.reason,
            "source": job.settings.plan,
            "decoder": footage.decoder,
            "frames": footage.frames,
            "damage": footage.damage,
            "parameters": dict(testimony.parameters),
            **cost(testimony),
            **({} if excerpt is None else {EXCERPT: _told(excerpt)}),
        },
        files={
            "observations": MadeFile(kept, "application/x-safetensors"),
            **({} if excerpt is None else {EXCERPT: MadeFile(cut, mimetypes.types_map[excerpt.suffix])}),
        },
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


def _told(excerpt: Excerpt) -> Json:
    """What was cut: whole frames, so not to the last digit what was asked for."""
    return {"start": excerpt.start, "end": excerpt.end, "frames": excerpt.frames}


def _testimony(job: ItemInProgress, footage: Footage) -> Reply:
    """The plan in words. Decoding greedily, the released model gives the protocol's own for every video."""
    if job.settings.plan is PlanSource.CONSTANT:
        return Reply(raw=cot.PLAN, prompt=cot.PLAN_PROMPT)
    return load_reasoner(job.settings.reasoner).plan(footage)
