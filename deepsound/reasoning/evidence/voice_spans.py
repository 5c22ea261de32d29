"""What was heard, cut by what was seen: the pieces that the verdict is made of. Pure."""

from deepsound.detection import SpeechActivity
from deepsound.detection.person_sounds import PEOPLE_RULE
from deepsound.reasoning.evidence.visibility import Piece, Sight, cut_at_visibility
from deepsound.reasoning.evidence.voice_over_probability import HeardVoice
from deepsound.spans import Span, intersect, subtract, total


def heard_voices(sight: Sight, speech: SpeechActivity) -> tuple[HeardVoice, ...]:
    """Every stretch in which people are heard while the picture runs, in order: speech, and what else is left.

    What is left of a long voice counts for itself only where it is long: two detectors never begin and end alike.
    """
    spoken = [heard.span for heard in speech.spans]
    beside = [
        part
        for heard in speech.people
        for part in subtract([heard.span], spoken)
        if part.duration >= PEOPLE_RULE.min_length
    ]
    voices = [
        _voice(sight, speech, piece, wordless=wordless)
        for spans, wordless in ((spoken, False), (beside, True))
        for piece in _pieces(spans, sight)
    ]
    return tuple(sorted(voices, key=lambda voice: voice.span))


def _pieces(heard: list[Span], sight: Sight) -> list[Piece]:
    shown, people = Span(0.0, sight.duration), sight.people()
    return [
        piece for span in heard for part in intersect([span], [shown]) for piece in cut_at_visibility(part, people)
    ]


def _voice(sight: Sight, speech: SpeechActivity, piece: Piece, *, wordless: bool) -> HeardVoice:
    people = _people(speech, piece.span)
    return HeardVoice(
        span=piece.span,
        wordless=wordless,
        confidence=people if wordless else speech.confidence(piece.span),
        seconded=speech.seconded(piece.span),
        people=people,
        person_visible=piece.person_visible,
        scores=sight.scores_in(piece.span),
        movement=sight.mouth_movement(piece.span) if piece.person_visible else None,
    )


def _people(speech: SpeechActivity, span: Span) -> float:
    """That of the long voice which most of `span` lies in."""
    around = [heard for heard in speech.people if total(intersect([heard.span], [span])) >= span.duration / 2]
    return max((heard.probability for heard in around), default=0.0)
