"""Questions that threads ask of a network here at the same time, and the replies to them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from deepsound.models.batching import Batcher, BatchLimits
from deepsound.reasoning.local.greedy_decoder import GreedyDecoder, StopReason
from deepsound.reasoning.local.token_generation import ForwardPass, Prompt, generate

_SIDE_BY_SIDE = 8
"""Most questions of one batch."""

_COMPANY_SECONDS = 2.0
"""How long a question waits for others that are being prepared."""

Question = TypeVar("Question")


@dataclass(frozen=True, slots=True)
class GeneratedReply:
    """What was said and how it ended; tokens read and said; seconds, and how many questions shared them."""

    raw: str
    stop_reason: StopReason
    probability: float | None
    prompt_tokens: int
    reply_tokens: int
    seconds: float
    batch: int


def concurrency_on(device: torch.device) -> int:
    """How many questions it is worth having asked at once: a GPU has room beside the processor, a CPU none."""
    return _SIDE_BY_SIDE if device.type == "cuda" else 1


def question_batcher(
    answer: Callable[[Sequence[Question]], Sequence[GeneratedReply]],
) -> Batcher[Question, GeneratedReply]:
    """Questions of all threads, a few at a time, to `answer`."""
    limits = BatchLimits(_SIDE_BY_SIDE, wait=_COMPANY_SECONDS)
    return Batcher(answer, limits, cost=lambda _: 1.0, kind=lambda _: None)


def generate_replies(
    questions: Sequence[Question],
    prompt: Callable[[Question], Prompt],
    writer: Callable[[Question], GreedyDecoder],
    following: ForwardPass,
) -> list[GeneratedReply]:
    """A reply to each question, in order: each prompt is read by itself, the replies are written side by side."""
    began = time.perf_counter()
    with torch.inference_mode():
        prompts = [prompt(question) for question in questions]
        writers = [writer(question) for question in questions]
        generate(following, prompts, writers)
    seconds = time.perf_counter() - began
    return [
        GeneratedReply(
            raw=writer.text,
            stop_reason=writer.stop_reason or StopReason.BUDGET,
            probability=writer.probability,
            prompt_tokens=prompt.length,
            reply_tokens=len(writer.tokens),
            seconds=seconds,
            batch=len(questions),
        )
        for prompt, writer in zip(prompts, writers, strict=True)
    ]
