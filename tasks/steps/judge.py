"""Step 2: the reasoner watches and listens, reasons in four stages, and decides whether there is voice-over."""

from collections.abc import Sequence
from typing import cast

from db.schema.records import Decision, FinishedStep
from deepsound import cot
from deepsound.canonical_json import Json
from deepsound.pipeline import Action
from deepsound.reasoning.ensemble import NO_BELOW, YES_ABOVE, Vote, judgement_of, votes
from deepsound.reasoning.protocol import Reply, VoiceSpan
from deepsound.spans import Span
from tasks.runtime.backend_choice import choose_judge
from tasks.runtime.item import PLAN, Item
from tasks.runtime.item_footage import load_footage
from tasks.steps.contract import StepContext, StepInputs, StepOutput

VERSION = "2"

VOICE_OVER = "voice-over"
"""The key of the decision this step makes."""

CONTRADICTION = "contradiction"
"""The key of the decision that flags a conclusion that contradicts its own reasoning; its span has those words."""


def inputs(item: Item, action: Action) -> StepInputs:
    """The observations, the coarse audio, and the reasoner."""
    reasoner = choose_judge(item.settings)
    return StepInputs(
        backend=reasoner.name,
        version=f"{VERSION}/{reasoner.version}/{cot.PARSER_VERSION}",
        models=reasoner.models,
        parameters={"prompt": cot.JUDGE_PROMPT},
        artifacts={
            "observations": item.artifact(PLAN, "observations"),
            "coarse": item.coarse(action.round),
        },
    )


def execute(context: StepContext) -> StepOutput:
    """Ask the reasoner, keep its reply as it is, and parse it without guessing."""
    item = context.item
    with context.store.local(item.coarse(context.action.round).sha256) as audio:
        footage = load_footage(item, context.store, context.footage_cache)
        reply = choose_judge(item.settings).judge(footage, audio)
    cast_votes = votes(reply)
    judgement = judgement_of(reply)
    raw, windows = append_windows(reply)
    return StepOutput(
        result={
            "verdict": judgement.verdict,
            "reason": judgement.reason,
            "form": reply.form,
            "probability": reply.probability,
            "voice_heard": reply.voice_heard,
            "voices": [_voice(voice) for voice in reply.voices],
            "parameters": dict(reply.parameters),
            **reply_cost(reply),
            **_votes(reply, cast_votes),
            **({"windows": windows} if windows else {}),
        },
        template=cot.JUDGE_PROMPT,
        prompt=reply.prompt,
        raw=raw,
        parser_version=cot.PARSER_VERSION,
        probability=reply.probability,
        frames=reply.frames,
        thoughts=judgement.thoughts,
        decisions=[
            *_decisions(judgement, reply.probability),
            *(
                decision
                for vote in cast_votes
                for decision in _decisions(vote.judgement, vote.probability, vote.reasoner)
            ),
        ],
    )


def reply_cost(reply: Reply) -> dict[str, Json]:
    """The cost of a reply as the ledger keeps it: tokens of prompt and reply, seconds."""
    return {
        "prompt_tokens": reply.prompt_tokens,
        "reply_tokens": reply.reply_tokens,
        "seconds": reply.seconds,
    }


def append_windows(reply: Reply) -> tuple[str, list[Json]]:
    """The raw output of the whole followed by that of each window, and the parsed judgement of each window.

    `raw` of a window has the span of its reply within the raw output.
    """
    raw, windows = reply.raw, list[Json]()
    for window in reply.windows:
        raw += f"\n\n[{window.span.start:g} to {window.span.end:g} s]\n"
        window_reply, judgement = window.reply, judgement_of(window.reply)
        windows.append(
            {
                "start": window.span.start,
                "end": window.span.end,
                "verdict": judgement.verdict,
                "reason": judgement.reason,
                "probability": window_reply.probability,
                "raw": [len(raw), len(raw) + len(window_reply.raw)],
                **reply_cost(window_reply),
            }
        )
        raw += window_reply.raw
    return raw, windows


def _votes(reply: Reply, cast_votes: Sequence[Vote]) -> dict[str, Json]:
    """The vote of each reasoner of an ensemble. `raw` has the span of its reply within the raw output."""
    if not cast_votes:
        return {}
    listed: list[Json] = [
        {
            "reasoner": vote.reasoner,
            "verdict": vote.judgement.verdict,
            "reason": vote.judgement.reason,
            "probability": vote.probability,
            "form": member.reply.form,
            "raw": [member.start, member.start + len(member.reply.raw)],
            **reply_cost(member.reply),
        }
        for vote, member in zip(cast_votes, reply.members, strict=True)
    ]
    return {"votes": listed, "band": [NO_BELOW, YES_ABOVE]}


def _decisions(judgement: cot.Judgement, probability: float | None, voter: str | None = None) -> list[Decision]:
    """The verdict, and a flag where it contradicts its own reasoning. `voter` names a reasoner of an ensemble."""
    by = "" if voter is None else f" by {voter}"
    verdict = Decision(
        f"{VOICE_OVER}{by}",
        judgement.verdict,
        confidence=probability,
        span=judgement.decided_at,
        parser_version=cot.PARSER_VERSION,
    )
    if judgement.contradicted_at is None:
        return [verdict]
    against = Decision(
        f"{CONTRADICTION}{by}", judgement.reason, span=judgement.contradicted_at, parser_version=cot.PARSER_VERSION
    )
    return [verdict, against]


def voices_of(judged: FinishedStep) -> tuple[VoiceSpan, ...]:
    """The time spans in which a finished judge step heard a voice."""
    voices = cast("list[dict[str, float]]", judged.result["voices"])
    return tuple(
        VoiceSpan(
            Span(voice["start"], voice["end"]),
            bool(voice["person_visible"]),
            voice["confidence"],
            bool(voice.get("mouths_still", False)),  # Judgements of earlier versions lack it.
        )
        for voice in voices
    )


def off_screen_spans(judged: FinishedStep) -> list[Span]:
    """The time spans in which a voice is heard and nobody in the picture may be speaking."""
    return [voice.span for voice in voices_of(judged) if voice.off_screen]


def _voice(voice: VoiceSpan) -> Json:
    return {
        "start": voice.span.start,
        "end": voice.span.end,
        "person_visible": voice.person_visible,
        "mouths_still": voice.mouths_still,
        "confidence": voice.confidence,
    }
