"""Finds the last clause of a reasoning that affirms or denies voice-over.

The parser uses it to detect a conclusion that contradicts its own reasoning. A missed contradiction leaves the
verdict as stated; a false alarm sends a correct reply to review. The rules therefore prefer misses: they only
recognise English clauses that state that voice-over is or is not there, with no second negation, condition or
question.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_VOICE_OVER = r"voice[- ]?overs?\b"
_ARTICLE = r"(?:an?\s+|any\s+|some\s+)?"
_SIGN = rf"(?:(?:sign|evidence|trace)s?\s+of\s+{_ARTICLE})?"
_DENIES = re.compile(
    r"\b(?:(?:does|do|did|is|are|was|were|has|have)(?:\s+not|n['’]t)|cannot|can['’]t|not)\s+"
    rf"(?:(?:contain|have|include|detect|hear|find|be)\s+)?{_ARTICLE}{_VOICE_OVER}"
    rf"|\b(?:no|without|free of|absence of)\s+{_ARTICLE}{_SIGN}{_VOICE_OVER}",
    re.IGNORECASE,
)
_AFFIRMS = re.compile(
    r"\b(?:contain(?:s|ed)?|ha(?:s|ve|d)|include[sd]?|is|are|was|were|detect(?:s|ed)?|found|hear(?:s|d)?)\s+"
    rf"{_ARTICLE}{_VOICE_OVER}",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|without|cannot|absence|free|hardly|false|wrong|untrue|den(?:y|ies|ied)|"
    r"fail(?:s|ed)?|neither|nor|un(?:likely|true|clear|sure))\b|n['’]t\b",
    re.IGNORECASE,
)
_OPEN = re.compile(
    r"\b(?:if|whether|unless|would|could|might|may|should|can|perhaps|possibl[ey]|probably|suppose|assum\w+|either)\b"
    r"|[?？]",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?:[^.!?。！？\n]|[.!?](?=\S))+[.!?。！？]*")
_BREAK = re.compile(
    r"[,;:–—]|\b(?:and|but|so|because|since|while|although|though|however|therefore|thus|hence|yet)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Stance:
    """Whether a clause affirms voice-over, and its character range in the text."""

    affirms: bool
    start: int
    end: int


def last_stance(text: str) -> Stance | None:
    """The last plain statement about voice-over in `text`; None without one."""
    return next(reversed([*_stances(text)]), None)


def _stances(text: str) -> Iterator[Stance]:
    for sentence in _SENTENCE.finditer(text):
        if _OPEN.search(sentence.group()):
            continue
        for start, end in _clauses(text, *sentence.span()):
            affirms = _affirms(text[start:end])
            if affirms is not None:
                yield Stance(affirms, start, end)


def _clauses(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Character ranges between the breaks of a sentence, without surrounding whitespace."""
    breaks = [(start, start), *(found.span() for found in _BREAK.finditer(text, start, end)), (end, end)]
    for (_, first), (last, _) in pairwise(breaks):
        clause = text[first:last]
        inner = first + len(clause) - len(clause.lstrip())
        yield inner, inner + len(clause.strip())


def _affirms(clause: str) -> bool | None:
    negations = len(_NEGATION.findall(clause))
    if negations == 1 and _DENIES.search(clause):
        return False
    return True if negations == 0 and _AFFIRMS.search(clause) else None
