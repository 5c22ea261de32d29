"""Step 3: removes the voice from the coarse audio, and measures speech and loudness before and after."""

from db.schema.records import Change, StepRef
from deepsound.backends import load_separator
from deepsound.canonical_json import Json
from deepsound.detection import SpeechActivity, find_speech
from deepsound.media.loudness import measure_loudness
from deepsound.pipeline import Action, Step, VoicePolicy
from deepsound.spans import Span, intersect, total
from tasks.runtime.item import Item
from tasks.steps.contract import MadeFile, SoundChange, StepContext, StepInputs, StepOutput
from tasks.steps.judge import VOICE_OVER, off_screen_spans

VERSION = "1"


def inputs(item: Item, action: Action) -> StepInputs:
    """The coarse audio, the time spans to change, and the separator."""
    separator = load_separator(item.settings.separator)
    spans = _spans(item, action)
    parameters: dict[str, Json] = {
        "spans": None if spans is None else [[span.start, span.end] for span in spans],
        **item.review_json(action.round),
    }
    return StepInputs(
        backend=separator.name,
        version=f"{VERSION}/{separator.version}",
        models=separator.models,
        parameters=parameters,
        artifacts={"coarse": item.coarse(action.round)},
    )


def execute(context: StepContext) -> StepOutput:
    """Separate voice and background. Each changed span is an effect, with speech and loudness before and after."""
    item, action = context.item, context.action
    coarse = item.coarse(action.round)
    voice, background = context.scratch / "voice.wav", context.scratch / "background.wav"
    with context.store.local(coarse.sha256) as mix:
        separator = load_separator(item.settings.separator)
        separated = separator.separate(mix, voice, background, _spans(item, action))
        before, after = find_speech(mix), find_speech(background)
        loudness = Change(measure_loudness(mix).integrated_lufs, measure_loudness(background).integrated_lufs)
    # A review is no decision of an attempt, so the effects can't refer to it; the result names it instead.
    review = item.review_json(action.round)
    because = None if review else item.decision(StepRef(Step.JUDGE, action.round), VOICE_OVER)
    return StepOutput(
        result={
            "touched": [[span.start, span.end] for span in separated.touched],
            "speech_seconds": [before.seconds, after.seconds],
            "notes": dict(separated.notes),
            **review,
        },
        files={"voice": MadeFile(voice, "audio/wav"), "background": MadeFile(background, "audio/wav")},
        changes=[
            SoundChange(
                operation="remove_voice",
                span=span,
                before=coarse.sha256,
                made="background",
                because=because,
                speech_seconds=Change(_speech_seconds(before, span), _speech_seconds(after, span)),
                speech_level=Change(before.level([span]), after.level([span])),
                loudness=loudness,
            )
            for span in separated.touched
        ],
    )


def _spans(item: Item, action: Action) -> list[Span] | None:
    """The time spans to remove the voice from; None means everywhere.

    That is everywhere for an M&E delivery, which wants voices too faint for the detector out as well, and for a
    reasoner that names no spans.
    """
    if item.settings.voice is VoicePolicy.ALL:
        return None
    return off_screen_spans(item.done[StepRef(Step.JUDGE, action.round)]) or None


def _speech_seconds(activity: SpeechActivity, span: Span) -> float:
    return total(intersect([speech.span for speech in activity.spans], [span]))
