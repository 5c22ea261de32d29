"""Writes the four tagged stages of the evidence reasoner in plain English.

Every sentence states a measurement, so a reader can check it against the recorded observations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepsound.cot import Stage, format_judgement
from deepsound.detection import SpeechActivity
from deepsound.detection.centerface import FACE_SCORE
from deepsound.detection.speech_activity import FRAME_SECONDS, SPEECH_RULE
from deepsound.reasoning.evidence.visibility import (
    CONFIDENT_FACE,
    MIN_PIECE_SECONDS,
    PRESENCE_SECONDS,
    FaceTimeline,
)
from deepsound.reasoning.evidence.voice_over_probability import (
    HALF_AT_SECONDS,
    MOVING_MOUTH,
    STILL_MOUTH,
    UNCONFIRMED_WEIGHT,
    HeardVoice,
)
from deepsound.spans import Span, intersect, merge, total

_LISTED = 12


@dataclass(frozen=True, slots=True, eq=False)
class Measurements:
    """Everything measured in one video and its audio, and the resulting probability of voice-over.

    `people`: when people are visible. `voices`: when people are heard. `weighted_seconds`: the seconds of voice
    that count as coming from outside the picture; `probability` follows from them.
    """

    timeline: FaceTimeline
    people: tuple[Span, ...]
    speech: SpeechActivity
    voices: tuple[HeardVoice, ...]
    weighted_seconds: float
    probability: float

    @property
    def voice_over(self) -> bool:
        """The verdict: whether the probability is at least one half."""
        return self.probability >= 0.5


def write_report(measurements: Measurements) -> str:
    """Write the reply in the protocol's form; `cot.parse_judgement` reads the verdict back from it."""
    return format_judgement(
        {
            Stage.SUMMARY: _SUMMARY,
            Stage.CAPTION: f"{_picture(measurements)} {_sound(measurements)}",
            Stage.REASONING: _reasoning(measurements),
            Stage.CONCLUSION: "A" if measurements.voice_over else "B",
        }
    )


_SUMMARY = (
    "The problem is to determine whether the audio contains voice-over, which is the sound of people while no "
    "people are in the picture, or none whose mouth moves. I will determine whether there are people in the video "
    "and whether there is the sound of people in the audio, and compare when each of them is there."
)


def _picture(measurements: Measurements) -> str:
    timeline = measurements.timeline
    best = int(timeline.score.argmax())
    looked = (
        f"I looked for faces in {_count(len(timeline.time), 'frame')} from {timeline.time[0]:.2f} s to "
        f"{timeline.time[-1]:.2f} s, in {_count(len(timeline.shots()), 'shot')}; the best score was "
        f"{timeline.score[best]:.2f} at {timeline.time[best]:.2f} s, and {CONFIDENT_FACE:.2f} "
        f"is needed, or {FACE_SCORE:.2f} twice in a row."
    )
    if not measurements.people:
        return f"{looked} The video shows there are no people in the video."
    watched = _count(len(timeline.mouth_time), "frame")
    return (
        f"{looked} Faces were found in {_count(int(timeline.found.sum()), 'frame')}, at most "
        f"{int(timeline.faces.max())} at once. With up to {PRESENCE_SECONDS:.1f} s before and after each within "
        f"its shot, people are taken to be in the picture at {_spans(measurements.people)}. "
        f"Their mouths could be watched in {watched}. The video shows there are people in the video."
    )


def _sound(measurements: Measurements) -> str:
    speech, end = measurements.speech, measurements.timeline.duration
    listened = (
        f"I listened for speech in {min(speech.duration, end):.2f} s of sound, up to the end of the picture; a "
        f"probability of {SPEECH_RULE.enter:.2f} or more for at least {SPEECH_RULE.min_length:.2f} s is needed."
    )
    spoken = merge(voice.span for voice in measurements.voices if not voice.wordless)
    if spoken:
        heard = f"There is speech for {total(spoken):.2f} s, at {_spans(spoken)}."
    else:
        peak = speech.probability[: round(end / FRAME_SECONDS)].max(initial=0.0)
        heard = f"The highest probability of one frame was {peak:.2f}."
    there = "There is the sound" if measurements.voices else "There is no sound"
    return " ".join(
        [listened, heard, *_together(measurements), f"{there} of people in the audio.", _second_opinion(speech)]
    )


def _together(measurements: Measurements) -> list[str]:
    shown = Span(0.0, measurements.timeline.duration)
    heard = intersect([people.span for people in measurements.speech.person_sounds], [shown])
    if not heard:
        return []
    sentences = [
        f"By all detectors together, people with words or without are likelier than not for "
        f"{total(heard):.2f} s, at {_spans(heard)}."
    ]
    spans = merge(voice.span for voice in measurements.voices if voice.wordless)
    if spans:
        sentences += [
            f"So beside clear speech, there are voices such as laughter, a crowd or singing for "
            f"{total(spans):.2f} s, at {_spans(spans)}."
        ]
    return sentences


def _second_opinion(speech: SpeechActivity) -> str:
    return (
        f"A second detector heard speech for {total(speech.second_opinion):.2f} s, singing for "
        f"{total(speech.singing):.2f} s and music for {total(speech.music):.2f} s in all of the sound."
    )


def _reasoning(measurements: Measurements) -> str:
    voices = measurements.voices
    if not voices:
        return f"There is no sound of people in the audio. {_verdict(measurements)}"
    in_picture = [voice for voice in voices if not voice.off_screen]
    sentences = (
        [f"People are heard while someone is in the picture at {_voices(in_picture)}."] if in_picture else []
    )
    sentences += _off_screen(measurements, [voice for voice in voices if voice.off_screen])
    if not measurements.people:
        sentences += ["There are no people in the video. There is the sound of people in the audio."]
    return " ".join([*sentences, _verdict(measurements)])


def _off_screen(measurements: Measurements, voices: Sequence[HeardVoice]) -> list[str]:
    unseen = [voice for voice in voices if not voice.person_visible]
    silent = [voice for voice in voices if voice.person_visible]
    sentences = [f"People are heard while nobody is in the picture at {_voices(unseen)}."] if unseen else []
    if not unseen:
        sentences += ["At no time are people heard while nobody is in the picture."]
    if silent:
        sentences += [f"People are heard while those in the picture keep their mouths still at {_voices(silent)}."]
    if measurements.weighted_seconds:
        sentences += [
            f"{measurements.weighted_seconds:.2f} s count as heard from outside the picture, by the confidence of "
            f"hearing speech and the second detector's agreement (without it {UNCONFIRMED_WEIGHT:.1f}), or by how "
            f"likely all detectors together find people, and by the margin of finding no face or a still mouth; "
            f"pieces under {MIN_PIECE_SECONDS:.1f} s count for nothing."
        ]
    return sentences


def _verdict(measurements: Measurements) -> str:
    contains = "contains" if measurements.voice_over else "does not contain"
    return (
        f"The probability of voice-over is {measurements.probability:.2f}; {HALF_AT_SECONDS:.2f} s that count "
        f"would make it one half. I detect that the audio {contains} a voice-over."
    )


def _voices(voices: Iterable[HeardVoice]) -> str:
    return _listed([f"{_span(voice.span)} ({_measured(voice)})" for voice in voices])


def _measured(voice: HeardVoice) -> str:
    together = f"people {voice.people:.2f}"
    confidence = f"wordless, {together}" if voice.wordless else f"confidence {voice.confidence:.2f}, {together}"
    if not voice.person_visible:
        return confidence
    if voice.movement is None:
        return f"{confidence}, mouths not watched"
    return (
        f"{confidence}, mouth movement {voice.movement:.3f} where {STILL_MOUTH:.3f} is still and "
        f"{MOVING_MOUTH:.3f} may speak"
    )


def _spans(spans: Iterable[Span]) -> str:
    return _listed([_span(span) for span in spans])


def _listed(sentences: Sequence[str]) -> str:
    rest = len(sentences) - _LISTED
    return ", ".join([*sentences[:_LISTED], f"and {rest} more"] if rest > 0 else sentences)


def _span(span: Span) -> str:
    return f"{span.start:.2f}–{span.end:.2f} s"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
