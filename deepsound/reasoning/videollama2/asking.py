"""Questions to the network, several at once, and its replies."""
# PyTorch leaves from_numpy without types.
# pyright: reportUnknownMemberType=false

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepsound.canonical import sha256_json
from deepsound.cot import ReplyForm
from deepsound.reasoning.videollama2.decoding import Prompt, Read, read, write
from deepsound.reasoning.videollama2.network import VideoLlama2
from deepsound.reasoning.videollama2.prompting import Media, Vocabulary
from deepsound.reasoning.videollama2.reading import ReadBefore
from deepsound.reasoning.videollama2.writing import Ended, GreedyWriter

REMEMBERED_BYTES = 2**30
"""Of what was read of videos: about thirteen at the released sizes, in 16 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Frames as SigLIP takes them: RGB bytes (n, 384, 384, 3), and the SHA-256 of each (n, 32)."""

    pixels: NDArray[np.uint8]
    sha256: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """The prompt up to the model's turn, what is seen and heard, and the form of a reply that holds a verdict.

    `energies`: log mel energies (frames, 128).
    """

    prompt: str
    media: Media
    shown: Shown | None
    energies: Tensor | None
    form: ReplyForm | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What was said and how it ended; tokens read and said; seconds, and how many questions shared them."""

    raw: str
    ended: Ended
    probability: float | None
    prompt_tokens: int
    reply_tokens: int
    seconds: float
    batch: int


class Interlocutor:
    """A loaded network with its words, for one thread at a time.

    All up to the end of the video's tokens is read before the rest, and kept: the next question about the same
    frames goes on from there. As it is always read apart, the reply is the same whether it was kept or not.
    """

    def __init__(self, network: VideoLlama2, vocabulary: Vocabulary, penalty: float) -> None:
        self._network = network
        self._vocabulary = vocabulary
        self._penalty = penalty
        self._read_before = ReadBefore(REMEMBERED_BYTES)

    def answer(self, questions: Sequence[Question]) -> list[Reply]:
        """A reply to each, in order."""
        began = time.perf_counter()
        with torch.inference_mode():
            prompts = [self._prompt(question) for question in questions]
            writers = [GreedyWriter(self._vocabulary, self._penalty, question.form) for question in questions]
            write(self._network.language, prompts, writers)
        seconds = time.perf_counter() - began
        return [
            Reply(
                raw=writer.text,
                ended=writer.ended or Ended.BUDGET,
                probability=writer.probability,
                prompt_tokens=prompt.length,
                reply_tokens=len(writer.said),
                seconds=seconds,
                batch=len(questions),
            )
            for prompt, writer in zip(prompts, writers, strict=True)
        ]

    def _prompt(self, question: Question) -> Prompt:
        before, after = self._vocabulary.around(question.prompt, question.media)
        rest = [] if question.energies is None else [self._network.hear(self._moved(question.energies))]
        return Prompt(self._begun(before, question.shown), torch.cat([*rest, self._network.words(after)]))

    def _begun(self, before: Sequence[int], shown: Shown | None) -> Read:
        frames = None if shown is None else shown.sha256.tobytes().hex()
        return self._read_before.get(
            sha256_json({"words": list(before), "frames": frames}), lambda: self._read(before, shown)
        )

    def _read(self, before: Sequence[int], shown: Shown | None) -> Read:
        parts = [self._network.words(before)]
        if shown is not None:
            frames = torch.from_numpy(shown.pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
            parts.append(self._network.see(self._moved(frames)))
        return read(self._network.language, torch.cat(parts))

    def _moved(self, tensor: Tensor) -> Tensor:
        parameter = next(self._network.audio.parameters())
        return tensor.to(parameter.device, parameter.dtype)
