"""Questions to the network, several at once, and its replies."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache

from deepsound.cot import ReplyForm
from deepsound.errors import ModelFailedError
from deepsound.reasoning.local.answer_tokens import AnswerVocabulary
from deepsound.reasoning.local.greedy_decoder import MAX_NEW_TOKENS, GreedyDecoder
from deepsound.reasoning.local.prefix_cache import PREFIX_CACHE_BYTES, PrefixCache
from deepsound.reasoning.local.reply_batches import GeneratedReply, generate_replies
from deepsound.reasoning.local.token_generation import KeyValues, Prompt, prefill
from deepsound.reasoning.omni.input_processing import InputProcessor, ShownVideo
from deepsound.reasoning.omni.model_families import ModelFamily

_FEATURES = ("pixel_values_videos", "input_features")
"""Inputs that are computed with; times and places keep their own precision."""

_SOUND = frozenset({"input_features", "feature_attention_mask", "input_features_mask"})
_KINDS = "mm_token_type_ids"
"""Which tokens are of pictures: in some models those of one picture see one another, also the later ones."""

_TEXT = frozenset({"input_ids", "attention_mask", _KINDS})

_NO_PENALTY = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class OmniQuestion:
    """The prompt up to the model's turn, what is seen, and the samples of each sound."""

    prompt: str
    shown: ShownVideo | None
    sounds: Sequence[NDArray[np.float32]]


class OmniChatSession:
    """A loaded network with its processor, for one thread at a time.

    All up to the last token of the video is read before the rest, and kept: the next question about the same
    frames goes on from there. As it is always read apart, the reply is the same whether it was kept or not. The
    release's own settings for sampling are left out.
    """

    def __init__(
        self, network: PreTrainedModel, family: ModelFamily, processor: InputProcessor, words: AnswerVocabulary
    ) -> None:
        self._network = cast(Any, network)
        self._family = family
        self._processor = processor
        self._words = words
        self._read_before = PrefixCache(PREFIX_CACHE_BYTES)

    def answer(self, questions: Sequence[OmniQuestion]) -> list[GeneratedReply]:
        """A reply to each, in order. Raises ModelFailedError for a prompt that leaves it no room."""
        return generate_replies(questions, self._prompt, self._writer, self._following)

    def _writer(self, question: OmniQuestion) -> GreedyDecoder:  # noqa: ARG002 - all are written alike
        return GreedyDecoder(self._words, _NO_PENALTY, ReplyForm.STAGES_TO_LETTER)

    def _prompt(self, question: OmniQuestion) -> Prompt:
        tensors = self._processor.tensors(question.prompt, question.shown, question.sounds)
        ids = tensors["input_ids"][0]
        _refuse_too_long(self._network.config, len(ids))
        places, ahead = self._family.position_ids(self._network, tensors)
        sound = {name: value for name, value in tensors.items() if name in _SOUND}
        video = {name: value for name, value in tensors.items() if name not in _SOUND | _TEXT}
        shown = _after_video(ids, self._network.config)
        if shown:
            beginning = _tokens(tensors, places, slice(shown)) | video
            before = self._read_before.get(_digest(beginning), lambda: self._read(beginning))
            whole = self._read(_tokens(tensors, places, slice(shown, -1)) | sound, before)
        else:
            whole = self._read(_tokens(tensors, places, slice(-1)) | video | sound)
        return Prompt(whole, ids[-1:].to(self._network.device), ahead)

    def _read(self, part: Mapping[str, Tensor], after: KeyValues | None = None) -> KeyValues:
        given = {
            name: value.to(self._network.device, self._network.dtype if name in _FEATURES else value.dtype)
            for name, value in part.items()
        }
        return prefill(
            lambda cache: self._network.model(
                **given, past_key_values=cache, use_cache=True, **self._family.prefill_options
            ),
            after,
        )

    def _following(self, given: Tensor, attended: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        output = self._network(
            input_ids=given, attention_mask=attended, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return output.logits[:, -1].float()


def _after_video(ids: Tensor, config: PreTrainedConfig) -> int:
    """How many tokens (length,) there are to the video's last one; 0 without one, or with a sound before it."""
    named = cast(Any, config)
    video, sounds = ((ids == token).nonzero().flatten() for token in (named.video_token_id, named.audio_token_id))
    if not len(video):
        return 0
    shown = int(video[-1]) + 1
    return shown if not len(sounds) or int(sounds[0]) >= shown else 0


def _tokens(tensors: Mapping[str, Tensor], places: Tensor, part: slice) -> dict[str, Tensor]:
    """Those tokens of a prompt with their places, and of what kind they are where the part begins the prompt."""
    named = ["input_ids", _KINDS] if part.start is None and _KINDS in tensors else ["input_ids"]
    return {
        "position_ids": places.unsqueeze(-2)[..., part],
        **{name: tensors[name][:, part] for name in named},
    }


def _digest(part: Mapping[str, Tensor]) -> str:
    """Of all that a network is given."""
    digest = hashlib.sha256()
    for name, value in sorted(part.items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().data)
    return digest.hexdigest()


def _refuse_too_long(config: PreTrainedConfig, prompt: int) -> None:
    longest = int(config.get_text_config().max_position_embeddings)
    if prompt + MAX_NEW_TOKENS > longest:
        raise ModelFailedError(
            f"the question, frames and sound are {prompt} tokens, and the reply may be {MAX_NEW_TOKENS}, "
            f"where the model takes {longest} together",
            remedy="cut the video into parts, or judge it with the evidence reasoner",
        )
