"""Questions to the network, several at once, and its replies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepsound.canonical_json import sha256_json
from deepsound.cot import ReplyForm
from deepsound.reasoning.local.greedy_decoder import GreedyDecoder
from deepsound.reasoning.local.prefix_cache import PREFIX_CACHE_BYTES, PrefixCache
from deepsound.reasoning.local.reply_batches import GeneratedReply, generate_replies
from deepsound.reasoning.local.token_generation import KeyValues, Prompt
from deepsound.reasoning.videollama2.network import VideoLlama2
from deepsound.reasoning.videollama2.qwen2_decoding import forward_pass, prefill_embeddings
from deepsound.reasoning.videollama2.vocabulary import Media, Vocabulary


@dataclass(frozen=True, slots=True, eq=False)
class SiglipFrames:
    """Frames as SigLIP takes them: RGB bytes (n, 384, 384, 3), and the SHA-256 of each (n, 32)."""

    pixels: NDArray[np.uint8]
    sha256: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class VideoLlama2Question:
    """The prompt up to the model's turn, what is seen and heard, and the form of a reply that holds a verdict.

    `energies`: log mel energies (frames, 128).
    """

    prompt: str
    media: Media
    shown: SiglipFrames | None
    energies: Tensor | None
    form: ReplyForm | None


class VideoLlama2ChatSession:
    """A loaded network with its words, for one thread at a time.

    All up to the end of the video's tokens is read before the rest, and kept: the next question about the same
    frames goes on from there. As it is always read apart, the reply is the same whether it was kept or not.
    """

    def __init__(self, network: VideoLlama2, vocabulary: Vocabulary, penalty: float) -> None:
        self._network = network
        self._vocabulary = vocabulary
        self._penalty = penalty
        self._read_before = PrefixCache(PREFIX_CACHE_BYTES)

    def answer(self, questions: Sequence[VideoLlama2Question]) -> list[GeneratedReply]:
        """A reply to each, in order."""
        return generate_replies(questions, self._prompt, self._writer, forward_pass(self._network.language))

    def _writer(self, question: VideoLlama2Question) -> GreedyDecoder:
        return GreedyDecoder(self._vocabulary, self._penalty, question.form)

    def _prompt(self, question: VideoLlama2Question) -> Prompt:
        before, after = self._vocabulary.split_at_media(question.prompt, question.media)
        rest = [] if question.energies is None else [self._network.encode_sound(self._moved(question.energies))]
        return Prompt(self._begun(before, question.shown), torch.cat([*rest, self._network.embed_tokens(after)]))

    def _begun(self, before: Sequence[int], shown: SiglipFrames | None) -> KeyValues:
        frames = None if shown is None else shown.sha256.tobytes().hex()
        return self._read_before.get(
            sha256_json({"words": list(before), "frames": frames}), lambda: self._read(before, shown)
        )

    def _read(self, before: Sequence[int], shown: SiglipFrames | None) -> KeyValues:
        parts = [self._network.embed_tokens(before)]
        if shown is not None:
            frames = torch.from_numpy(shown.pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
            parts.append(self._network.encode_frames(self._moved(frames)))
        return prefill_embeddings(self._network.language, torch.cat(parts))

    def _moved(self, tensor: Tensor) -> Tensor:
        parameter = next(self._network.audio.parameters())
        return tensor.to(parameter.device, parameter.dtype)
