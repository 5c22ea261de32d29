"""Splits detected voices at the times when people appear and disappear. Pure."""

from deepsound.detection import SpeechActivity
from deepsound.detection.person_sounds import PERSON_SOUND_RULE
from deepsound.reasoning.evidence.visibility import FaceTimeline, SpeechPiece, split_by_visibility
from deepsound.reasoning.evidence.voice_over_probability import HeardVoice
from deepsound.spans import Span, intersect, subtract, total


def heard_voices(timeline: FaceTimeline, speech: SpeechActivity) -> tuple[HeardVoice, ...]:
    """All spans in which people are heard during the video, in order: speech and other person sounds.

    Person sounds outside speech count only from PERSON_SOUND_RULE.min_length on, because two detectors never agree
    exactly on where a voice starts and ends.
    """
    spoken = [found.span for found in speech.spans]
    wordless_spans = [
        part
        for sound in speech.person_sounds
        for part in subtract([sound.span], spoken)
        if part.duration >= PERSON_SOUND_RULE.min_length
    ]
    voices = [
        _voice(timeline, speech, piece, wordless=wordless)
        for spans, wordless in ((spoken, False), (wordless_spans, True))
        for piece in _pieces(spans, timeline)
    ]
    return tuple(sorted(voices, key=lambda voice: voice.span))


def _pieces(spans: list[Span], timeline: FaceTimeline) -> list[SpeechPiece]:
    shown, people = Span(0.0, timeline.duration), timeline.people_visible()
    return [
        piece
        for span in spans
        for part in intersect([span], [shown])
        for piece in split_by_visibility(part, people)
    ]


def _voice(timeline: FaceTimeline, speech: SpeechActivity, piece: SpeechPiece, *, wordless: bool) -> HeardVoice:
    people = _people(speech, piece.span)
    return HeardVoice(
        span=piece.span,
        wordless=wordless,
        confidence=people if wordless else speech.confidence(piece.span),
        confirmed_share=speech.confirmed_share(piece.span),
        people=people,
        person_visible=piece.person_visible,
        scores=timeline.scores_in(piece.span),
        movement=timeline.mouth_movement(piece.span) if piece.person_visible else None,
    )


def _people(speech: SpeechActivity, span: Span) -> float:
    """Probability of the person-sound span that covers at least half of `span`; 0 without one."""
    around = [
        sound for sound in speech.person_sounds if total(intersect([sound.span], [span])) >= span.duration / 2
    ]
    return max((sound.probability for sound in around), default=0.0)
