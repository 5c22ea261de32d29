"""The paper's protocol as data: what the reasoner is asked, how it must answer, and parsers that never guess.

Wording from DeepSound-V1 (arXiv 2503.22208), figures 1 and 2, and its released pipeline. A reply that departs
from the protocol is undecided and keeps its raw text; nobody reads a verdict into it.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

PARSER_VERSION = "1"

PLAN_PROMPT = "Generate high-quality audio from video step-by-step."

PLAN = """\
Step1: Generate audio from video.
<Action> Generation audio from video using pretrained video-to-audio model. </Action>
Step2: Given a video and its generated audio, determine whether the audio contains voice-over.
<Condition1> If there is a voice-over in the audio, proceed to step3. </Condition1>
<Condition2> If there is no voice-over in the audio, it is the final high-quality audio generated. </Condition2>
Step3: Remove voice-over from audio.
<Action> Use an audio-to-audio model to remove voice-over from audio. </Action>
Step4: Determine whether the audio is silent.
<Condition1> If the audio is silent, high-quality audio cannot be generated. </Condition1>
<Condition2> If the audio is not silent, it is the final high-quality audio generated. </Condition2>
"""
"""The reply to `PLAN_PROMPT` (figure 1). With greedy decoding the released model answers nothing else."""

JUDGE_PROMPT = (
    "Given a video and its corresponding audio, determine whether the audio contains voice-over? "
    "Options: A. Yes, B. No. Choose A or B."
)

SILENCE_PROMPT = "Is the audio is silent?"
"""The third trained task, worded as in figure 2."""

HUMAN_VOICE = "human voice"
"""The negative prompt of the `neg` fallback."""


class Stage(StrEnum):
    """The stages of the chain of thought, in the order they must be spoken."""

    SUMMARY = "summary"
    CAPTION = "caption"
    REASONING = "reasoning"
    CONCLUSION = "conclusion"


STAGE_LINES = {
    Stage.SUMMARY: "Summary stage: What's the problem? What should I do?",
    Stage.CAPTION: "Caption stage: What can I know from the video and the audio?",
    Stage.REASONING: "Reasoning stage: How to solve the problem step-by-step?",
    Stage.CONCLUSION: "Conclusion stage: What is the final answer?",
}
"""The line the model speaks before each tagged stage."""


class Verdict(StrEnum):
    """Whether the audio has voice-over."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Thought:
    """One stage as spoken: its text without the tags, and where that text stands in the raw reply."""

    stage: Stage
    text: str
    start: int
    end: int


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


_STEP = re.compile(r"^Step(\d+):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_TAG = re.compile(r"<(/?)(" + "|".join(stage.name for stage in Stage) + r")>")
_ANSWER = re.compile(r"\s*(?:(A)(?:\. Yes)?|(B)(?:\. No)?)\.?\s*")
_DENIES = re.compile(
    r"\b(?:(?:does|do|did) not (?:contain|have|include)|doesn't (?:contain|have)|contains? no|has no|is no|"
    r"are no|not contain|without)\s+(?:an?y?\s+)?(?:sign of (?:an? )?)?voice-?over",
    re.IGNORECASE,
)
_AFFIRMS = re.compile(
    r"\b(?:contains?|has|have|includes?|is|are|detect|found)\s+(?:an?\s+|some\s+)?voice-?over", re.IGNORECASE
)


def plan_steps(text: str) -> tuple[str, ...]:
    """The instruction of each `StepN:` line, in order."""
    return tuple(match.group(2) for match in _STEP.finditer(text))


def parse_plan(text: str) -> Plan:
    """Accept the protocol's four steps in order, word for word, and nothing else."""
    numbers = [int(match.group(1)) for match in _STEP.finditer(text)]
    expected = plan_steps(PLAN)
    if numbers != list(range(1, len(expected) + 1)):
        return Plan(text, False, f"the plan has steps {numbers or 'none'}, expected 1 to {len(expected)}")
    for number, (said, meant) in enumerate(zip(plan_steps(text), expected, strict=True), start=1):
        if said != meant:
            return Plan(text, False, f"step {number} reads {said!r}, expected {meant!r}")
    return Plan(text, True)


def parse_judgement(text: str) -> Judgement:
    """Read the four stages and the verdict.

    A verdict needs each stage exactly once, whole, in order, with A or B as the whole conclusion, and a
    reasoning that does not plainly say the opposite; anything else is undecided.
    """
    thoughts, defect = _stages(text)
    if defect:
        return Judgement(text, Verdict.UNDECIDED, thoughts, defect)
    reasoning, conclusion = thoughts[2], thoughts[3]
    answer = _answer(conclusion.text)
    if answer is None:
        return Judgement(text, Verdict.UNDECIDED, thoughts, "the conclusion is neither A nor B")
    verdict, (first, last) = answer
    decided_at = (conclusion.start + first, conclusion.start + last)
    reasoned = _reasoned_verdict(reasoning.text)
    if reasoned not in (None, verdict):
        why = f"the conclusion says {verdict}, but the reasoning says {reasoned}"
        return Judgement(text, Verdict.UNDECIDED, thoughts, why, decided_at)
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


def format_judgement(said: dict[Stage, str]) -> str:
    """Four stage texts as a reply in the protocol's form, each after its stage line."""
    return "\n".join(f"{STAGE_LINES[stage]}\n<{stage.name}> {said[stage]} </{stage.name}>" for stage in Stage)


def _stages(text: str) -> tuple[tuple[Thought, ...], str]:
    """Every well-formed stage, and what is wrong with the whole, or ''."""
    thoughts: list[Thought] = []
    defect = ""
    opened: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
        closing, name = tag.group(1) == "/", tag.group(2)
        if not closing:
            if opened is not None:
                defect = defect or f"<{name}> opens inside <{opened.group(2)}>"
            opened = tag
        elif opened is None or opened.group(2) != name:
            defect = defect or f"</{name}> closes nothing"
            opened = None
        else:
            thoughts.append(_thought(Stage[name], text, opened.end(), tag.start()))
            opened = None
    if opened is not None:
        defect = defect or f"<{opened.group(2)}> is never closed"
    return tuple(thoughts), defect or _order_defect(thoughts)


def _order_defect(thoughts: list[Thought]) -> str:
    spoken = [thought.stage for thought in thoughts]
    for stage in Stage:
        if spoken.count(stage) != 1:
            return f"the {stage} stage is {'missing' if stage not in spoken else 'given more than once'}"
    if spoken != list(Stage):
        return "the stages are out of order: " + ", ".join(spoken)
    empty = [thought.stage for thought in thoughts if not thought.text]
    return f"the {empty[0]} stage is empty" if empty else ""


def _thought(stage: Stage, text: str, start: int, end: int) -> Thought:
    body = text[start:end]
    inner = body.strip()
    offset = start + (len(body) - len(body.lstrip())) if inner else start
    return Thought(stage, inner, offset, offset + len(inner))


def _answer(text: str) -> tuple[Verdict, tuple[int, int]] | None:
    """The verdict that the whole of `text` is, and where its letter stands; None where it is anything else."""
    answer = _ANSWER.fullmatch(text)
    if answer is None:
        return None
    return (Verdict.YES, answer.span(1)) if answer.group(1) else (Verdict.NO, answer.span(2))


def _reasoned_verdict(reasoning: str) -> Verdict | None:
    """What the reasoning plainly says about voice-over; None where it says nothing, or both."""
    denies = _DENIES.search(reasoning) is not None
    affirms = _AFFIRMS.search(_DENIES.sub(" ", reasoning)) is not None
    if denies == affirms:
        return None
    return Verdict.NO if denies else Verdict.YES
