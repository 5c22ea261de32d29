"""The parts of OpenAI's chat protocol that are read, as vLLM and its like speak it; all else is passed over."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field


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
Words = Annotated[str, AfterValidator(_without_nul)]


class ServedModel(BaseModel):
    """One entry of /models."""

    id: ModelName


class ServedModels(BaseModel):
    """The answer to /models."""

    data: list[ServedModel]


class Chance(BaseModel):
    """A token and the natural logarithm of its probability; `bytes` where its text is no whole UTF-8."""

    token: str
    logprob: float
    bytes: list[Annotated[int, Field(ge=0, le=255)]] | None = None


class Spoken(Chance):
    """A token that was said, and the likeliest ones in its place."""

    top_logprobs: list[Chance] = []


class Logprobs(BaseModel):
    """Every token of the reply, in order."""

    content: list[Spoken] | None = None


class Message(BaseModel):
    """What the model said, or the words of its refusal; `reasoning_content` is thinking aloud before the reply."""

    content: Words | None = None
    refusal: Words | None = None
    reasoning_content: Words | None = None


class ReplyChoice(BaseModel):
    """One reply; `finish_reason` is "stop", "length", "content_filter" or the server's own."""

    message: Message
    logprobs: Logprobs | None = None
    finish_reason: Words | None = None


class Usage(BaseModel):
    """Tokens read and said."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Completion(BaseModel):
    """The answer to /chat/completions."""

    choices: Annotated[list[ReplyChoice], Field(min_length=1)]
    usage: Usage | None = None


class _Complaint(BaseModel):
    message: str


class Refused(BaseModel):
    """The body of an answer that is an error."""

    error: _Complaint
