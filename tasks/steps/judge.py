"""Step 2: look and listen, reason in four stages, and decide whether there is voice-over."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from db.schema.records import Decision, FinishedStep
from deepsound import cot
from deepsound.canonical_json import Json
from deepsound.pipeline import Action
from deepsound.reasoning.ensemble import SURELY, SURELY_NOT, Vote, judgement_of, votes
from deepsound.reasoning.protocol import Reply, VoiceSpan
from deepsound.spans import Span
from tasks.runtime.item import PLAN, ItemInProgress
from tasks.steps.contract import StepInputs, StepOutput

VERSION = "2"

VOICE_OVER = "voice-over"
"""The key of the decision this step makes."""

CONTRADICTION = "contradiction"
"""The key of the decision that flags a conclusion against its own reasoning; its span are the words against it."""


def inputs(job: ItemInProgress, action: Action) -> StepInputs:
    """What was seen, the coarse audio, and the reasoner."""
    reasoner = job.reasoner
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


def execute(job: ItemInProgress, action: Action, scratch: Path) -> StepOutput:  # noqa: ARG001 - every step has it
    """Ask, keep every word, and parse without guessing."""
    with job.worker.store.local(job.coarse(action.round).sha256) as audio:
        testimony = job.reasoner.judge(job.footage(), audio)
    cast_votes = votes(testimony)
    judgement = judgement_of(testimony)
    raw, windows = windows_after(testimony)
    return StepOutput(
        result={
            "verdict": judgement.verdict,
            "reason": judgement.reason,
            "form": testimony.form,
            "probability": testimony.probability,
            "voice_heard": testimony.voice_heard,
            "voices": [_voice(voice) for voice in testimony.voices],
            "parameters": dict(testimony.parameters),
            **cost(testimony),
            **_votes(testimony, cast_votes),
            **({"windows": windows} if windows else {}),
        },
        template=cot.JUDGE_PROMPT,
        prompt=testimony.prompt,
        raw=raw,
        parser_version=cot.PARSER_VERSION,
        probability=testimony.probability,
        frames=testimony.frames,
        thoughts=judgement.thoughts,
        decisions=[
            *_decisions(judgement, testimony.probability),
            *(
                decision
                for vote in cast_votes
                for decision in _decisions(vote.judgement, vote.probability, vote.reasoner)
            ),
        ],
    )


def cost(testimony: Reply) -> dict[str, Json]:
    """What a testimony cost, as the ledger keeps it: tokens read and said, seconds."""
    return {
        "prompt_tokens": testimony.prompt_tokens,
        "reply_tokens": testimony.reply_tokens,
        "seconds": testimony.seconds,
    }


def windows_after(testimony: Reply) -> tuple[str, list[Json]]:
    """The raw output with the words on each window after those on the whole, and what was read from them."""
    raw, read = testimony.raw, list[Json]()
    for window in testimony.windows:
        raw += f"\n\n[{window.span.start:g} to {window.span.end:g} s]\n"
        said, judgement = window.testimony, judgement_of(window.testimony)
        read.append(
            {
                "start": window.span.start,
                "end": window.span.end,
                "verdict": judgement.verdict,
                "reason": judgement.reason,
                "probability": said.probability,
                "raw": [len(raw), len(raw) + len(said.raw)],
                **cost(said),
            }
        )
        raw += said.raw
    return raw, read


def _votes(testimony: Reply, cast_votes: Sequence[Vote]) -> dict[str, Json]:
    """What each of several reasoners said; `raw` are the characters of the raw output that are its words."""
    if not cast_votes:
        return {}
    said: list[Json] = [
        {
            "reasoner": vote.reasoner,
            "verdict": vote.judgement.verdict,
            "reason": vote.judgement.reason,
            "probability": vote.probability,
            "form": member.testimony.form,
            "raw": [member.start, member.start + len(member.testimony.raw)],
            **cost(member.testimony),
        }
        for vote, member in zip(cast_votes, testimony.members, strict=True)
    ]
    return {"votes": said, "band": [SURELY_NOT, SURELY]}


def _decisions(judgement: cot.Judgement, probability: float | None, voter: str | None = None) -> list[Decision]:
    """The verdict, and the flag on one that goes against its own reasoning. `voter`: one of several reasoners."""
    read_by = cot.PARSER_VERSION
    by = "" if voter is None else f" by {voter}"
    verdict = Decision(
        f"{VOICE_OVER}{by}",
        judgement.verdict,
        confidence=probability,
        span=judgement.decided_at,
        parser_version=read_by,
    )
    if judgement.contradicted_at is None:
        return [verdict]
    against = Decision(
        f"{CONTRADICTION}{by}", judgement.reason, span=judgement.contradicted_at, parser_version=read_by
    )
    return [verdict, against]


def voices_of(judged: FinishedStep) -> tuple[VoiceSpan, ...]:
    """The spans in which somebody is heard, as a finished judgement holds them."""
    voices = cast("list[dict[str, float]]", judged.result["voices"])
    return tuple(
        VoiceSpan(
            Span(voice["start"], voice["end"]),
            bool(voice["person_visible"]),
            voice["confidence"],
            bool(voice.get("mouths_still", False)),  # judgements of earlier versions do not have it
        )
        for voice in voices
    )


def unseen_voices(judged: FinishedStep) -> list[Span]:
    """The spans where somebody is heard and nobody who may be speaking is in the picture."""
    return [voice.span for voice in voices_of(judged) if voice.off_screen]


def _voice(voice: VoiceSpan) -> Json:
    return {
        "start": voice.span.start,
        "end": voice.span.end,
        "person_visible": voice.person_visible,
        "mouths_still": voice.mouths_still,
        "confidence": voice.confidence,
    }
