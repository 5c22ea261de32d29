"""The message: pictures, sounds, and the protocol's question for a model that was not trained on it."""

from base64 import b64encode
from collections.abc import Sequence

from deepsound import cot
from deepsound.canonical import Json
from deepsound.cot import Stage
from deepsound.reasoning.served.listening import Window

_FORM = cot.format_judgement(
    {
        Stage.SUMMARY: "what is asked, and how you will find out",
        Stage.CAPTION: "what the pictures show, whether people are in them, and what is heard",
        Stage.REASONING: "what follows from that, step by step",
        Stage.CONCLUSION: "A or B, that letter alone",
    }
)


def judge_prompt(times: Sequence[float], heard: Sequence[Window]) -> str:
    """The question, with what the pictures and sounds before it are; `times` of the frames in seconds."""
    shown = ", ".join(f"{time:.2f} s" for time in times)
    sounds = ", ".join(f"{window.span.start:.2f} to {window.span.end:.2f} s" for window in heard)
    return (
        f"The pictures are frames of one video, at {shown}. The sounds are its audio, in order: {sounds}.\n"
        f"{cot.JUDGE_PROMPT}\n"
        "Voice-over is the sound of people while no people are in the picture.\n"
        "Answer in this form and add nothing to it; put your own words between the tags:\n"
        f"{_FORM}"
    )


def message(pictures: Sequence[bytes], heard: Sequence[Window], prompt: str) -> list[Json]:
    """Content parts of OpenAI's chat protocol: JPEG files as data URLs, WAV files, and the text."""
    images = [f"data:image/jpeg;base64,{b64encode(picture).decode()}" for picture in pictures]
    sounds = [b64encode(window.wav).decode() for window in heard]
    return [
        *({"type": "image_url", "image_url": {"url": image}} for image in images),
        *({"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}} for sound in sounds),
        {"type": "text", "text": prompt},
    ]
