"""Parsers of the protocol's replies. They never guess: a reply that departs from the protocol is undecided.

The raw text of such a reply is kept, and no verdict is read into it.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from deepsound.cot.contradiction import last_stance
from deepsound.cot.prompts import PLAN
from deepsound.cot.tagged_stages import Stage, Thought, read_stages

PARSER_VERSION = "3"


class Verdict(StrEnum):
    """Whether the audio has voice-over."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"


class ReplyForm(StrEnum):
    """How a reply to `JUDGE_PROMPT` must be read."""

    STAGES = "stages"
    """The four tagged stages, whole."""
    STAGES_TO_LETTER = "stages to letter"
    """The same, but its writer was stopped at the letter of the conclusion, which is the last thing it holds."""
    LETTER = "letter"
    """The letter alone."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A parsed reply to `JUDGE_PROMPT`.

    `thoughts` holds every stage that could be read, in the order spoken; all four where the verdict is
    decided, and none where a bare letter was asked for. `reason` says in a sentence why a verdict is undecided,
    and is empty otherwise. `decided_at` is the range of characters of `raw` that the verdict was read from.
    """

    raw: str
    verdict: Verdict
    thoughts: tuple[Thought, ...]
    reason: str = ""
    decided_at: tuple[int, int] | None = None
    contradicted_at: tuple[int, int] | None = None

    def text(self, stage: Stage) -> str | None:
        """What was said in a stage; None where it is missing or was said more than once."""
        said = [thought.text for thought in self.thoughts if thought.stage == stage]
        return said[0] if len(said) == 1 else None

    @property
    def summary(self) -> str | None:
        """The SUMMARY stage."""
        return self.text(Stage.SUMMARY)

    @property
    def caption(self) -> str | None:
        """The CAPTION stage."""
        return self.text(Stage.CAPTION)

    @property
    def reasoning(self) -> str | None:
        """The REASONING stage."""
        return self.text(Stage.REASONING)

    @property
    def conclusion(self) -> str | None:
        """The CONCLUSION stage."""
        return self.text(Stage.CONCLUSION)


@dataclass(frozen=True, slots=True)
class Plan:
    """A parsed reply to `PLAN_PROMPT`: whether it is the protocol's plan, and if not, why."""

    raw: str
    accepted: bool
    reason: str = ""


# A line that begins like a step, however it is written: one that is none of the four is not to be overlooked.
_STEP = re.compile(r"^[^\w\n]*step[^\w\n]*\d.*$", re.MULTILINE | re.IGNORECASE)
_ANSWER = re.compile(r"\s*(?:(A)(?:\. Yes)?|(B)(?:\. No)?)\.?\s*")
_SILENCE = re.compile(r"\s*(The audio is (not )?silent)\.?\s*")


def parse_plan(text: str) -> Plan:
    """Accept the protocol's four steps in order, word for word, and no other steps.

    What stands between them is not looked at, as in the reference: the four are what is done.
    """
    said, expected = _steps(text), _steps(PLAN)
    if len(said) != len(expected):
        return Plan(text, False, f"the plan has {len(said)} steps, expected {len(expected)}")
    for number, (have, meant) in enumerate(zip(said, expected, strict=True), start=1):
        if have != meant:
            return Plan(text, False, f"step {number} reads {have!r}, expected {meant!r}")
    return Plan(text, True)


def _steps(text: str) -> list[str]:
    return [line.group().strip() for line in _STEP.finditer(text)]


def parse_reply(text: str, form: ReplyForm) -> Judgement:
    """Read a reply in the form it was given in."""
    if form is ReplyForm.LETTER:
        return parse_answer(text)
    return parse_judgement(text, is_stopped=form is ReplyForm.STAGES_TO_LETTER)


def parse_judgement(text: str, *, is_stopped: bool = False) -> Judgement:
    """Read the four stages and the verdict.

    A verdict needs each stage exactly once, whole, in order, with A or B as the whole conclusion, and a
    reasoning that does not plainly say the opposite; anything else is undecided. `is_stopped` says that the
    writer was stopped at the letter, so that nothing closes the conclusion: not to be told of a reply merely cut.
    """
    thoughts, defect = read_stages(text, is_stopped=is_stopped)
    if defect:
        return Judgement(text, Verdict.UNDECIDED, thoughts, defect)
    reasoning, conclusion = thoughts[2], thoughts[3]
    answer = _answer(conclusion.text)
    if answer is None:
        return Judgement(text, Verdict.UNDECIDED, thoughts, "the conclusion is neither A nor B")
    verdict, (first, last) = answer
    decided_at = (conclusion.start + first, conclusion.start + last)
    stance = last_stance(reasoning.text)
    if stance is not None and stance.affirms != (verdict is Verdict.YES):
        reasoned = Verdict.YES if stance.affirms else Verdict.NO
        why = f"the conclusion says {verdict}, but the reasoning says {reasoned}"
        against = (reasoning.start + stance.start, reasoning.start + stance.end)
        return Judgement(text, Verdict.UNDECIDED, thoughts, why, decided_at, against)
    return Judgement(text, verdict, thoughts, "", decided_at)


def parse_answer(text: str) -> Judgement:
    """Read the reply of a model that answers `JUDGE_PROMPT` with the letter alone, as the `qa` checkpoint does.

    The whole reply is A or B as a conclusion may word it, or it is undecided; there are no thoughts.
    """
    answer = _answer(text)
    if answer is None:
        return Judgement(text, Verdict.UNDECIDED, (), "the reply is neither A nor B")
    verdict, decided_at = answer
    return Judgement(text, verdict, (), "", decided_at)


@dataclass(frozen=True, slots=True)
class SilenceAnswer:
    """A parsed reply to `SILENCE_PROMPT`: `silent` is None, with the reason why, for any other words.

    `decided_at` is the range of characters of `raw` it was read from.
    """

    raw: str
    silent: bool | None
    reason: str = ""
    decided_at: tuple[int, int] | None = None


def parse_silence(text: str) -> SilenceAnswer:
    """Accept one of the two trained sentences, word for word, and nothing else."""
    said = _SILENCE.fullmatch(text)
    if said is None:
        return SilenceAnswer(text, None, "the reply says neither that the audio is silent nor that it is not")
    return SilenceAnswer(text, said.group(2) is None, "", said.span(1))


def _answer(text: str) -> tuple[Verdict, tuple[int, int]] | None:
    """The verdict that the whole of `text` is, and where its letter stands; None where it is anything else."""
    answer = _ANSWER.fullmatch(text)
    if answer is None:
        return None
    return (Verdict.YES, answer.span(1)) if answer.group(1) else (Verdict.NO, answer.span(2))
