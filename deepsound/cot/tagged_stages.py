"""Formats and reads the four tagged stages of the chain of thought."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The stages of the chain of thought, in their required order."""

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
"""The line that precedes each tagged stage."""


@dataclass(frozen=True, slots=True)
class Thought:
    """One stage of a reply: its text without tags, and the character range of that text in the raw reply."""

    stage: Stage
    text: str
    start: int
    end: int


_TAG = re.compile(r"<(/?)(" + "|".join(stage.name for stage in Stage) + r")>")


def format_judgement(texts: dict[Stage, str]) -> str:
    """Format four stage texts as a reply in the protocol's form, each after its stage line."""
    return "\n".join(f"{STAGE_LINES[stage]}\n<{stage.name}> {texts[stage]} </{stage.name}>" for stage in Stage)


def read_stages(text: str, *, is_stopped: bool) -> tuple[tuple[Thought, ...], str]:
    """Return every well-formed stage, and a description of the first defect of the reply, or ''.

    `is_stopped`: decoding was stopped within the conclusion, which then extends to the end of the reply.
    """
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
    if opened is not None and is_stopped and opened.group(2) == Stage.CONCLUSION.name:
        thoughts.append(_thought(Stage.CONCLUSION, text, opened.end(), len(text)))
    elif opened is not None:
        defect = defect or f"<{opened.group(2)}> is never closed"
    return tuple(thoughts), defect or _order_defect(thoughts)


def _order_defect(thoughts: list[Thought]) -> str:
    stages = [thought.stage for thought in thoughts]
    for stage in Stage:
        if stages.count(stage) != 1:
            return f"the {stage} stage is {'missing' if stage not in stages else 'given more than once'}"
    if stages != list(Stage):
        return "the stages are out of order: " + ", ".join(stages)
    empty = [thought.stage for thought in thoughts if not thought.text]
    return f"the {empty[0]} stage is empty" if empty else ""


def _thought(stage: Stage, text: str, start: int, end: int) -> Thought:
    body = text[start:end]
    inner = body.strip()
    offset = start + (len(body) - len(body.lstrip())) if inner else start
    return Thought(stage, inner, offset, offset + len(inner))
