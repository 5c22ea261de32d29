"""The four stages in plain English, from what was measured: a reader can check every sentence."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepsound.cot import Stage, format_judgement
from deepsound.detection import SpeechActivity
from deepsound.detection.centerface import FACE_SCORE
from deepsound.detection.speech_activity import FRAME_SECONDS, SPEECH_RULE
from deepsound.reasoning.evidence.visibility import REACH, SHORTEST_PIECE, SURE_FACE, Sight
from deepsound.reasoning.evidence.voice_over_probability import HALF_AT, MOVING, STILL, UNSECONDED, HeardVoice
from deepsound.spans import Span, intersect, merge, total

_LISTED = 12


@dataclass(frozen=True, slots=True, eq=False)
class Measurements:
    """All that was measured, and what follows from it.

    `voices` are the stretches in which people are heard; `weighed` the seconds that count as coming from outside
    the picture, `probability` what they make.
    """

    sight: Sight
    people: tuple[Span, ...]
    speech: SpeechActivity
    voices: tuple[HeardVoice, ...]
    weighed: float
    probability: float

    @property
    def voice_over(self) -> bool:
        """The verdict: as likely as not, or likelier."""
        return self.probability >= 0.5


def testify(findings: Measurements) -> str:
    """The reply in the protocol's form; `cot.parse_judgement` reads the verdict of `findings` from it."""
    return format_judgement(
        {
            Stage.SUMMARY: _SUMMARY,
            Stage.CAPTION: f"{_picture(findings)} {_sound(findings)}",
            Stage.REASONING: _reasoning(findings),
            Stage.CONCLUSION: "A" if findings.voice_over else "B",
        }
    )


_SUMMARY = (
    "The problem is to determine whether the audio contains voice-over, which is the sound of people while no "
    "people are in the picture, or none whose mouth moves. I will determine whether there are people in the video "
    "and whether there is the sound of people in the audio, and compare when each of them is there."
)


def _picture(findings: Measurements) -> str:
    sight = findings.sight
    best = int(sight.score.argmax())
    looked = (
        f"I looked for faces in {_count(len(sight.time), 'frame')} from {sight.time[0]:.2f} s to "
        f"{sight.time[-1]:.2f} s, in {_count(len(sight.shots()), 'shot')}; the best score was "
        f"{sight.score[best]:.2f} at {sight.time[best]:.2f} s, and {SURE_FACE:.2f} "
        f"is needed, or {FACE_SCORE:.2f} twice in a row."
    )
    if not findings.people:
        return f"{looked} The video shows there are no people in the video."
    watched = _count(len(sight.mouth_time), "frame")
    return (
        f"{looked} Faces were found in {_count(int(sight.found.sum()), 'frame')}, at most "
        f"{int(sight.faces.max())} at once. With up to {REACH:.1f} s before and after each within its shot, "
        f"people are taken to be in the picture at {_spans(findings.people)}. "
        f"Their mouths could be watched in {watched}. The video shows there are people in the video."
    )


def _sound(findings: Measurements) -> str:
    speech, end = findings.speech, findings.sight.duration
    listened = (
        f"I listened for speech in {min(speech.duration, end):.2f} s of sound, up to the end of the picture; a "
        f"probability of {SPEECH_RULE.enter:.2f} or more for at least {SPEECH_RULE.min_length:.2f} s is needed."
    )
    spoken = merge(voice.span for voice in findings.voices if not voice.wordless)
    if spoken:
        heard = f"There is speech for {total(spoken):.2f} s, at {_spans(spoken)}."
    else:
        peak = speech.probability[: round(end / FRAME_SECONDS)].max(initial=0.0)
        heard = f"The highest probability of one frame was {peak:.2f}."
    there = "There is the sound" if findings.voices else "There is no sound"
    return " ".join(
        [listened, heard, *_together(findings), f"{there} of people in the audio.", _second_opinion(speech)]
    )


def _together(findings: Measurements) -> list[str]:
    shown = Span(0.0, findings.sight.duration)
    heard = intersect([people.span for people in findings.speech.people], [shown])
    if not heard:
        return []
    said = [
        f"By all detectors together, people with words or without are likelier than not for "
        f"{total(heard):.2f} s, at {_spans(heard)}."
    ]
    spans = merge(voice.span for voice in findings.voices if voice.wordless)
    if spans:
        said += [
            f"So beside clear speech, there are voices such as laughter, a crowd or singing for "
            f"{total(spans):.2f} s, at {_spans(spans)}."
        ]
    return said


def _second_opinion(speech: SpeechActivity) -> str:
    return (
        f"A second detector heard speech for {total(speech.second_opinion):.2f} s, singing for "
        f"{total(speech.singing):.2f} s and music for {total(speech.music):.2f} s in all of the sound."
    )


def _reasoning(findings: Measurements) -> str:
    voices = findings.voices
    if not voices:
        return f"There is no sound of people in the audio. {_verdict(findings)}"
    in_picture = [voice for voice in voices if not voice.off_screen]
    sentences = (
        [f"People are heard while someone is in the picture at {_voices(in_picture)}."] if in_picture else []
    )
    sentences += _off_screen(findings, [voice for voice in voices if voice.off_screen])
    if not findings.people:
        sentences += ["There are no people in the video. There is the sound of people in the audio."]
    return " ".join([*sentences, _verdict(findings)])


def _off_screen(findings: Measurements, voices: Sequence[HeardVoice]) -> list[str]:
    unseen = [voice for voice in voices if not voice.person_visible]
    silent = [voice for voice in voices if voice.person_visible]
    said = [f"People are heard while nobody is in the picture at {_voices(unseen)}."] if unseen else []
    if not unseen:
        said += ["At no time are people heard while nobody is in the picture."]
    if silent:
        said += [f"People are heard while those in the picture keep their mouths still at {_voices(silent)}."]
    if findings.weighed:
        said += [
            f"{findings.weighed:.2f} s count as heard from outside the picture, by the confidence of hearing "
            f"speech and the second detector's agreement (without it {UNSECONDED:.1f}), or by how likely all "
            f"detectors together find people, and by the margin of finding no face or a still mouth; pieces under "
            f"{SHORTEST_PIECE:.1f} s count for nothing."
        ]
    return said


def _verdict(findings: Measurements) -> str:
    contains = "contains" if findings.voice_over else "does not contain"
    return (
        f"The probability of voice-over is {findings.probability:.2f}; {HALF_AT:.2f} s that count would make it "
        f"one half. I detect that the audio {contains} a voice-over."
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
        f"{confidence}, mouth movement {voice.movement:.3f} where {STILL:.3f} is still and {MOVING:.3f} may speak"
    )


def _spans(spans: Iterable[Span]) -> str:
    return _listed([_span(span) for span in spans])


def _listed(said: Sequence[str]) -> str:
    rest = len(said) - _LISTED
    return ", ".join([*said[:_LISTED], f"and {rest} more"] if rest > 0 else said)


def _span(span: Span) -> str:
    return f"{span.start:.2f}–{span.end:.2f} s"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
