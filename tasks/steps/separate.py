"""Step 3: take the voice out of the coarse audio, and measure what that did."""

from pathlib import Path

from db.schema.records import Change, StepRef
from deepsound.backends import load_separator
from deepsound.canonical_json import Json
from deepsound.detection import SpeechActivity, find_speech
from deepsound.media.loudness import measure_loudness
from deepsound.pipeline import Action, Step, VoicePolicy
from deepsound.spans import Span, intersect, total
from tasks.runtime.item import ItemInProgress
from tasks.steps.contract import MadeFile, SoundChange, StepInputs, StepOutput
from tasks.steps.judge import VOICE_OVER, unseen_voices

VERSION = "1"


def inputs(job: ItemInProgress, action: Action) -> StepInputs:
    """The coarse audio, the spans to touch, and the separator."""
    separator = load_separator(job.settings.separator)
    spans = _spans(job, action)
    parameters: dict[str, Json] = {
        "spans": None if spans is None else [[span.start, span.end] for span in spans],
        **job.reviewed(action.round),
    }
    return StepInputs(
        backend=separator.name,
        version=f"{VERSION}/{separator.version}",
        models=separator.models,
        parameters=parameters,
        artifacts={"coarse": job.coarse(action.round)},
    )


def execute(job: ItemInProgress, action: Action, scratch: Path) -> StepOutput:
    """Split, then listen again: every span touched is an effect with speech and loudness before and after."""
    coarse = job.coarse(action.round)
    voice, background = scratch / "voice.wav", scratch / "background.wav"
    with job.worker.store.local(coarse.sha256) as mix:
        separated = load_separator(job.settings.separator).separate(mix, voice, background, _spans(job, action))
        before, after = find_speech(mix), find_speech(background)
        loudness = Change(measure_loudness(mix).integrated_lufs, measure_loudness(background).integrated_lufs)
    # A person's review is no decision of an attempt: the result names it.
    reviewed = job.reviewed(action.round)
    because = None if reviewed else job.decision(StepRef(Step.JUDGE, action.round), VOICE_OVER)
    return StepOutput(
        result={
            "touched": [[span.start, span.end] for span in separated.touched],
            "speech_seconds": [before.seconds, after.seconds],
            "notes": dict(separated.notes),
            **reviewed,
        },
        files={"voice": MadeFile(voice, "audio/wav"), "background": MadeFile(background, "audio/wav")},
        changes=[
            SoundChange(
                operation="remove_voice",
                span=span,
                before=coarse.sha256,
                made="background",
                because=because,
                speech_seconds=Change(_within(before, span), _within(after, span)),
                speech_level=Change(before.level([span]), after.level([span])),
                loudness=loudness,
            )
            for span in separated.touched
        ],
    )


def _spans(job: ItemInProgress, action: Action) -> list[Span] | None:
    """Where to touch the sound; None is everywhere.

    A reasoner without time spans says only that there is voice-over somewhere, and an M&E delivery wants
    every voice out, also those too faint for the detector.
    """
    if job.settings.voice is VoicePolicy.ALL:
        return None
    return unseen_voices(job.done[StepRef(Step.JUDGE, action.round)]) or None


def _within(heard: SpeechActivity, span: Span) -> float:
    return total(intersect([speech.span for speech in heard.spans], [span]))
