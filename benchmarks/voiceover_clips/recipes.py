"""Which clips the benchmark has: a list that depends on nothing but the seed, and is cut in two.

No speaker, footage, photograph or kind of sound is in both halves. Constants are chosen on `development` alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from benchmarks.voiceover_clips.background_sounds import BEDS, MISTAKABLE, MUSIC
from benchmarks.voiceover_clips.people_samples import SPEAKERS, language
from benchmarks.voiceover_clips.pictures import SILENT, TALKERS, places, portraits

HALVES = ("development", "held-out")
LEVELS = (-10.0, -5.0, 0.0, 5.0, 10.0, 15.0)
AUDIBLE = (0.0, 5.0, 10.0, 15.0)

VOICE_OVER = frozenset(
    {
        "narration",
        "foreign narration",
        "narration under music",
        "narrator off screen",
        "speech past a cut",
        "singing",
        "laughter",
        "crowd",
    }
)
"""Kinds with voice-over; all others have none."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One clip. `level` is that of the voice over `bed` in dB, None where there is only one of them.

    `picture` names a place, portrait or real person; `other` the second picture of a clip that cuts.
    """

    number: int
    half: str
    kind: str
    picture: str
    speaker: str | None = None
    bed: str | None = None
    level: float | None = None
    other: str | None = None

    @property
    def voice_over(self) -> bool:
        """The label: is anybody heard whom the picture does not show speaking?"""
        return self.kind in VOICE_OVER


def recipes(half: str, seed: int) -> tuple[Recipe, ...]:
    """All clips of one half, in an order that never changes."""
    deal = _Deal(half, seed)
    found = [*deal.voice_overs(), *deal.others()]
    return tuple(Recipe(number, half, *row) for number, row in enumerate(found))


_Row = tuple[str, str, str | None, str | None, float | None, str | None]


class _Deal:
    """Hands out the material of one half evenly, in a shuffled order."""

    def __init__(self, half: str, seed: int) -> None:
        self._rng = np.random.default_rng([seed, HALVES.index(half)])
        speakers = SPEAKERS[half]
        self._anyone = self._hand(speakers)
        self._english = self._hand([name for name in speakers if language(name) == "en"])
        self._foreign = self._hand([name for name in speakers if language(name) != "en"])
        self._place = self._hand(places(half))
        self._portrait = self._hand([*portraits(half), *portraits(half)[:1] * 3])
        self._bed = self._hand(list(BEDS[half]))
        self._music = self._hand(list(MUSIC[half]))
        self._trap = self._hand(list(MISTAKABLE[half]))
        self._talkers, self._silent = list(TALKERS[half]), list(SILENT[half])

    def _hand(self, things: Sequence[str]) -> Iterator[str]:
        return cycle([things[index] for index in self._rng.permutation(len(things))])

    def voice_overs(self) -> Iterator[_Row]:
        """Somebody is heard who is not shown speaking."""
        for level in LEVELS * 2:
            yield "narration", next(self._place), next(self._english), next(self._bed), level, None
            yield "foreign narration", next(self._place), next(self._foreign), next(self._bed), level, None
            yield "narration under music", next(self._place), next(self._anyone), next(self._music), level, None
        for level in LEVELS * 3:
            yield "narrator off screen", next(self._portrait), next(self._anyone), next(self._bed), level, None
        for name in self._silent:
            for level in (None, *LEVELS):
                yield "narrator off screen", name, next(self._anyone), next(self._bed), level, None
        for name in self._talkers[: len(self._silent)]:
            for level in AUDIBLE:  # The real talker's voice, over footage they are not in.
                yield "narration", next(self._place), name, next(self._bed), level, None
        for level in AUDIBLE * 2:
            yield (
                "speech past a cut",
                next(self._portrait),
                next(self._anyone),
                next(self._bed),
                level,
                next(self._place),
            )
            yield "singing", next(self._place), next(self._anyone), next(self._bed), level, None
            yield "laughter", next(self._place), next(self._anyone), next(self._bed), level, None
            yield "crowd", next(self._place), None, next(self._bed), level, None

    def others(self) -> Iterator[_Row]:
        """Nobody is heard, or whoever is heard is shown speaking."""
        for level in LEVELS * 3:
            yield "speaker in shot", next(self._portrait), next(self._anyone), next(self._bed), level, None
        for level in AUDIBLE * 2:
            yield "dubbed speaker", next(self._portrait), next(self._foreign), next(self._bed), level, None
        for name in self._talkers:
            for level in AUDIBLE:
                kind = "speaker in shot" if self._silent else "dubbed speaker"
                yield kind, name, name if self._silent else next(self._foreign), next(self._bed), level, None
        for level in AUDIBLE:
            yield "laughing in shot", next(self._portrait), next(self._anyone), next(self._bed), level, None
        for _ in range(14):
            yield "no voice", next(self._place), None, next(self._bed), None, None
        for _ in range(4):
            yield "no voice", next(self._place), None, next(self._music), None, None
        for _ in range(16):
            yield "mistakable sound", next(self._place), None, next(self._trap), None, None
        for name in (*(next(self._portrait) for _ in range(8)), *self._silent * 4):
            yield "silent person", name, None, next(self._bed), None, None
        for _ in range(4):
            yield "mouth without voice", next(self._portrait), None, next(self._bed), None, None
