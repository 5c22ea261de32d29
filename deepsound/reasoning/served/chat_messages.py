"""The parts of OpenAI's chat protocol that are read, as vLLM and its like speak it; all else is passed over."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from deepsound.canonical_json import Json
from deepsound.reasoning.served.audio_input import WavWindow


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds characters that can't be shown")
    return text


def _without_nul(text: str) -> str:
    # PostgreSQL keeps no text with it, and no model means it.
    if "\0" in text:
        raise ValueError("it holds NUL characters")
    return text


ModelName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Text = Annotated[str, AfterValidator(_without_nul)]


class ServedModel(BaseModel):
    """One entry of /models."""

    id: ModelName


class ServedModels(BaseModel):
    """The answer to /models."""

    data: list[ServedModel]


class TokenLogprob(BaseModel):
    """A token and the natural logarithm of its probability; `bytes` where its text is no whole UTF-8."""

    token: str
    logprob: float
    bytes: list[Annotated[int, Field(ge=0, le=255)]] | None = None


class ReplyToken(TokenLogprob):
    """A token that was said, and the likeliest ones in its place."""

    top_logprobs: list[TokenLogprob] = []


class Logprobs(BaseModel):
    """Every token of the reply, in order."""

    content: list[ReplyToken] | None = None


class Message(BaseModel):
    """What the model said, or the words of its refusal; `reasoning_content` is thinking aloud before the reply."""

    content: Text | None = None
    refusal: Text | None = None
    reasoning_content: Text | None = None


class ReplyChoice(BaseModel):
    """One reply; `finish_reason` is "stop", "length", "content_filter" or the server's own."""

    message: Message
    logprobs: Logprobs | None = None
    finish_reason: Text | None = None


class Usage(BaseModel):
    """Tokens read and said."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Completion(BaseModel):
    """The answer to /chat/completions."""

    choices: Annotated[list[ReplyChoice], Field(min_length=1)]
    usage: Usage | None = None


class _ErrorMessage(BaseModel):
    message: str


class ErrorBody(BaseModel):
    """The body of an answer that is an error."""

    error: _ErrorMessage


def user_message(pictures: Sequence[bytes], heard: Sequence[WavWindow], prompt: str) -> list[Json]:
    """Content parts of OpenAI's chat protocol: JPEG files as data URLs, WAV files, and the text."""
    images = [f"data:image/jpeg;base64,{b64encode(picture).decode()}" for picture in pictures]
    sounds = [b64encode(window.wav).decode() for window in heard]
    return [
        *({"type": "image_url", "image_url": {"url": image}} for image in images),
        *({"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}} for sound in sounds),
        {"type": "text", "text": prompt},
    ]
