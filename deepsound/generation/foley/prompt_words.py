"""What a prompt can ask of the foley generator: a list of words, each for a bed or for what impacts sound like.

A word in the prompt brings its sound to the front, the same word in the negative prompt (or after "no",
"not" or "without") switches it off; the negative wins. Every word that means nothing here is handed back.
"""

import re
from dataclasses import dataclass

ROOM_TONE = "room tone"
IMPACTS = "impacts"
VOICES = "voices"

VOCABULARY: dict[str, str] = {
    # beds
    "wind": "wind windy breeze gust storm stormy",
    "rain": "rain rainy raining drizzle shower storm stormy",
    "water": "water sea ocean wave river stream lake underwater swimming",
    "foliage": "foliage leaf leaves grass tree forest rustle rustling",
    "traffic": "traffic car road street city",
    "rumble": "rumble engine machine thunder earthquake",
    "fire": "fire flame campfire",
    "movement": "movement swish whoosh",
    ROOM_TONE: "room indoor ambience",
    # what impacts sound like
    "wood": "wood wooden knock knocking chopping",
    "metal": "metal metallic clang hammer hammering bell",
    "glass": "glass ceramic dish dishes",
    "stone": "stone rock concrete",
    "drum": "drum drumming",
    "rubber": "rubber ball bouncing",
    "cloth": "cloth fabric soft thud",
    "footstep": "footstep step walking running",
    "splash": "splash splashing",
    IMPACTS: "impact hit collision bang percussion",
    # never made, in either prompt
    VOICES: "voice human speech speaking talk talking narration narrator voiceover dialogue vocal singing crowd",
}
"""The words of every sound, in the singular."""

_FILLERS = (
    "a an the and or of in on at with from to by for is are its some any more less very loud quiet gentle heavy "
    "light near far over under sound noise audio background ambient sfx foley effect tone"
)
_FILLER_WORDS = frozenset(_FILLERS.split())
_NEGATIONS = frozenset({"no", "not", "without"})
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Steering:
    """Sounds asked for and ruled out, by their names in `VOCABULARY`; `unknown` words meant nothing."""

    wanted: frozenset[str]
    unwanted: frozenset[str]
    unknown: tuple[str, ...]


def read_prompts(prompt: str, negative_prompt: str) -> Steering:
    """The steering in a prompt and a negative prompt."""
    asked, refused = _split_negations(_words(prompt))
    refused += [word for word in _words(negative_prompt) if word not in _NEGATIONS]
    unwanted = frozenset(sound for word in refused for sound in _sounds(word))
    return Steering(
        wanted=frozenset(sound for word in asked for sound in _sounds(word)) - unwanted,
        unwanted=unwanted,
        unknown=tuple(dict.fromkeys(word for word in [*asked, *refused] if not _sounds(word))),
    )


def _words(text: str) -> list[str]:
    """Lower-case words in the singular, fillers left out."""
    text = re.sub(r"voice[\s-]?over", "voiceover", text.lower())
    words = (word if word in _SOUNDS else _singular(word) for word in _WORD.findall(text))
    return [word for word in words if word not in _FILLER_WORDS]


def _split_negations(words: list[str]) -> tuple[list[str], list[str]]:
    """Words that are asked for, and words right after a "no"."""
    asked: list[str] = []
    refused: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if word not in _NEGATIONS:
            (refused if before in _NEGATIONS else asked).append(word)
    return asked, refused


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _sounds(word: str) -> frozenset[str]:
    return _SOUNDS.get(word, frozenset())


def _by_word() -> dict[str, frozenset[str]]:
    sounds: dict[str, frozenset[str]] = {}
    for sound, words in VOCABULARY.items():
        for word in words.split():
            sounds[word] = sounds.get(word, frozenset()) | {sound}
    return sounds


_SOUNDS = _by_word()
