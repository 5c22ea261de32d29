"""Strict parsers of replies to the protocol's prompts.

They never guess: a reply that deviates from the protocol is undecided, and its raw text is kept.
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
    """The form of a reply to `JUDGE_PROMPT`."""

    STAGES = "stages"
    """The four complete tagged stages."""
    STAGES_TO_LETTER = "stages to letter"
    """The four tagged stages; decoding was stopped after the letter of the conclusion, which ends the reply."""
    LETTER = "letter"
    """Only the letter."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A parsed reply to `JUDGE_PROMPT`.

    `thoughts`: every stage that could be parsed, in the order of the reply; all four if the verdict of a staged
    reply is decided, none for a reply of a letter alone. `reason`: a sentence on why the verdict is undecided, or
    how several reasoners came to one; else empty. `decided_at`: character range of `raw` that states the verdict.
    `contradicted_at`: character range of the reasoning that contradicts the conclusion.
    """

    raw: str
    verdict: Verdict
    thoughts: tuple[Thought, ...]
    reason: str = ""
    decided_at: tuple[int, int] | None = None
    contradicted_at: tuple[int, int] | None = None

    def text(self, stage: Stage) -> str | None:
        """Text of a stage; None if it is missing or occurs more than once."""
        texts = [thought.text for thought in self.thoughts if thought.stage == stage]
        return texts[0] if len(texts) == 1 else None

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
    """A parsed reply to `PLAN_PROMPT`: whether it is the protocol's plan, and why if it is not."""

    raw: str
    accepted: bool
    reason: str = ""


# Any line that starts like a step, in any notation, so that a step beyond the four is noticed.
_STEP = re.compile(r"^[^\w\n]*step[^\w\n]*\d.*$", re.MULTILINE | re.IGNORECASE)
_ANSWER = re.compile(r"\s*(?:(A)(?:\. Yes)?|(B)(?:\. No)?)\.?\s*")
_SILENCE = re.compile(r"\s*(The audio is (not )?silent)\.?\s*")


def parse_plan(text: str) -> Plan:
    """Accept the protocol's four steps in order, word for word, and no other steps.

    Text between the steps is ignored, as in the reference implementation.
    """
    found, expected = _steps(text), _steps(PLAN)
    if len(found) != len(expected):
        return Plan(text, False, f"the plan has {len(found)} steps, expected {len(expected)}")
    for number, (step, expected_step) in enumerate(zip(found, expected, strict=True), start=1):
        if step != expected_step:
            return Plan(text, False, f"step {number} reads {step!r}, expected {expected_step!r}")
    return Plan(text, True)


def _steps(text: str) -> list[str]:
    return [line.group().strip() for line in _STEP.finditer(text)]


def parse_reply(text: str, form: ReplyForm) -> Judgement:
    """Parse a reply to `JUDGE_PROMPT` of the given form."""
    if form is ReplyForm.LETTER:
        return parse_answer(text)
    return parse_judgement(text, is_stopped=form is ReplyForm.STAGES_TO_LETTER)


def parse_judgement(text: str, *, is_stopped: bool = False) -> Judgement:
    """Parse the four stages and the verdict.

    A verdict requires each stage exactly once, complete and in order, a conclusion that is exactly A or B, and a
    reasoning that does not plainly state the opposite; anything else is undecided. `is_stopped`: decoding was
    stopped after the letter, so the conclusion has no closing tag. Not for replies that ran out of tokens.
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
    """Parse the reply of a model that answers `JUDGE_PROMPT` with the letter alone, as the `qa` checkpoint does.

    The whole reply must be a valid conclusion, A or B, else it is undecided. There are no thoughts.
    """
    answer = _answer(text)
    if answer is None:
        return Judgement(text, Verdict.UNDECIDED, (), "the reply is neither A nor B")
    verdict, decided_at = answer
    return Judgement(text, verdict, (), "", decided_at)


@dataclass(frozen=True, slots=True)
class SilenceAnswer:
    """A parsed reply to `SILENCE_PROMPT`.

    `silent` is None, with a `reason`, for any other words. `decided_at`: character range of `raw` that states it.
    """

    raw: str
    silent: bool | None
    reason: str = ""
    decided_at: tuple[int, int] | None = None


def parse_silence(text: str) -> SilenceAnswer:
    """Accept exactly one of the two trained sentences, word for word."""
    answer = _SILENCE.fullmatch(text)
    if answer is None:
        return SilenceAnswer(text, None, "the reply says neither that the audio is silent nor that it is not")
    return SilenceAnswer(text, answer.group(2) is None, "", answer.span(1))


def _answer(text: str) -> tuple[Verdict, tuple[int, int]] | None:
    """The verdict if `text` is exactly an answer, and the range of its letter; else None."""
    answer = _ANSWER.fullmatch(text)
    if answer is None:
        return None
    return (Verdict.YES, answer.span(1)) if answer.group(1) else (Verdict.NO, answer.span(2))
