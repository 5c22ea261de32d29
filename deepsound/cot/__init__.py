"""The chain-of-thought protocol of DeepSound-V1: prompts, tagged stages and strict parsers."""

from deepsound.cot.parsing import (
    PARSER_VERSION,
    Judgement,
    Plan,
    ReplyForm,
    SilenceAnswer,
    Verdict,
    parse_answer,
    parse_judgement,
    parse_plan,
    parse_reply,
    parse_silence,
)
from deepsound.cot.prompts import HUMAN_VOICE, JUDGE_PROMPT, PLAN, PLAN_PROMPT, SILENCE_PROMPT
from deepsound.cot.tagged_stages import STAGE_LINES, Stage, Thought, format_judgement

__all__ = [
    "HUMAN_VOICE",
    "JUDGE_PROMPT",
    "PARSER_VERSION",
    "PLAN",
    "PLAN_PROMPT",
    "SILENCE_PROMPT",
    "STAGE_LINES",
    "Judgement",
    "Plan",
    "ReplyForm",
    "SilenceAnswer",
    "Stage",
    "Thought",
    "Verdict",
    "format_judgement",
    "parse_answer",
    "parse_judgement",
    "parse_plan",
    "parse_reply",
    "parse_silence",
]
