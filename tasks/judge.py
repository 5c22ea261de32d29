"""Step 2: look and listen, reason in four stages, and decide whether there is voice-over."""

from pathlib import Path

from db.records import Decision, StepRef
from deepsound import cot
from deepsound.backends import load_reasoner
from deepsound.canonical import Json
from deepsound.pipeline import Action, Step
from deepsound.reasoning.protocol import VoiceSpan
from deepsound.spans import Span
from tasks.job import PLAN, Job
from tasks.step import StepInputs, StepOutput

VERSION = "1"

VOICE_OVER = "voice-over"
"""The key of the decision this step makes."""


def inputs(job: Job, action: Action) -> StepInputs:
    """What was seen, the coarse audio, and the reasoner."""
    reasoner = load_reasoner(job.settings.reasoner)
    return StepInputs(
        backend=reasoner.name,
        version=f"{VERSION}/{reasoner.version}/{cot.PARSER_VERSION}",
        models=reasoner.models,
        parameters={"prompt": cot.JUDGE_PROMPT},
        artifacts={
            "observations": job.made(PLAN, "observations"),
            "coarse": job.coarse(action.round),
        },
    )


def execute(job: Job, action: Action, scratch: Path) -> StepOutput:  # noqa: ARG001
    """Ask, keep every word, and parse without guessing."""
    with job.worker.store.local(job.coarse(action.round).sha256) as audio:
        testimony = load_reasoner(job.settings.reasoner).judge(job.footage(), audio)
    judgement = cot.parse_judgement(testimony.raw)
    return StepOutput(
        result={
            "verdict": judgement.verdict,
            "reason": judgement.reason,
            "probability": testimony.probability,
            "voice_heard": testimony.voice_heard,
            "voices": [_voice(voice) for voice in testimony.voices],
            "parameters": dict(testimony.parameters),
        },
        template=cot.JUDGE_PROMPT,
        prompt=testimony.prompt,
        raw=testimony.raw,
        parser_version=cot.PARSER_VERSION,
        probability=testimony.probability,
        frames=testimony.frames,
        thoughts=judgement.thoughts,
        decisions=[
            Decision(
                VOICE_OVER,
                judgement.verdict,
                confidence=testimony.probability,
                span=judgement.decided_at,
                parser_version=cot.PARSER_VERSION,
            )
        ],
    )


def unseen_voices(job: Job, number: int) -> list[Span]:
    """The spans of a round's audio where somebody is heard and nobody is in the picture."""
    return [span for span, visible in _voices(job, number) if not visible]


def _voices(job: Job, number: int) -> list[tuple[Span, bool]]:
    voices = job.done[StepRef(Step.JUDGE, number)].result["voices"]
    if not isinstance(voices, list):
        return []
    return [
        (Span(float(voice["start"]), float(voice["end"])), bool(voice["person_visible"]))
        for voice in voices
        if isinstance(voice, dict)
    ]


def _voice(voice: VoiceSpan) -> Json:
    return {
        "start": voice.span.start,
        "end": voice.span.end,
        "person_visible": voice.person_visible,
        "confidence": voice.confidence,
    }
