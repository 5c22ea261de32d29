"""Words the protocol's questions for chat models that were not trained on them."""

from collections.abc import Sequence

from deepsound import cot
from deepsound.cot import Stage
from deepsound.spans import Span

_FORM = cot.format_judgement(
    {
        Stage.SUMMARY: "what is asked, and how you will find out",
        Stage.CAPTION: "what the pictures show, whether people are in them, and what is heard",
        Stage.REASONING: "what follows from that, step by step",
        Stage.CONCLUSION: "A or B, that letter alone",
    }
)


def judge_question(times: Sequence[float], sound_spans: Sequence[Span]) -> str:
    """`JUDGE_PROMPT` with the times (seconds) of the pictures and the spans of the sounds that precede it."""
    shown = ", ".join(f"{time:.2f} s" for time in times)
    sounds = ", ".join(f"{span.start:.2f} to {span.end:.2f} s" for span in sound_spans)
    return (
        f"The pictures are frames of one video, at {shown}. The sounds are its audio, in order: {sounds}.\n"
        f"{cot.JUDGE_PROMPT}\n"
        "Voice-over is the sound of people while no people are in the picture.\n"
        "Answer in this form and add nothing to it; put your own words between the tags:\n"
        f"{_FORM}"
    )


def plan_question(times: Sequence[float]) -> str:
    """`PLAN_PROMPT` with the only plan that can be followed; `times` of the pictures in seconds."""
    shown = ", ".join(f"{time:.2f} s" for time in times)
    return (
        f"The pictures are frames of one video, at {shown}.\n"
        f"{cot.PLAN_PROMPT}\n"
        "If this is how to do it, answer with these lines, word for word, and add nothing to them:\n"
        f"{cot.PLAN}"
    )


def silence_question() -> str:
    """`SILENCE_PROMPT` with the two possible answers."""
    return (
        f"{cot.SILENCE_PROMPT}\n"
        "Answer with one of these two sentences and add nothing to it:\n"
        "The audio is silent.\n"
        "The audio is not silent."
    )
