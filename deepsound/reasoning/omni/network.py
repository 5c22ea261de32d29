"""The network of a release: its weights loaded whole or not at all, and its words, one after the other."""
# transformers leaves its models mostly without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.memory import is_out_of_memory
from deepsound.reasoning.answering import Letters, OnceAnswered, OnlyLetters
from deepsound.reasoning.omni.families import Family
from deepsound.reasoning.omni.release import Release, incomplete, weight_files

MOST_TOKENS = 2048
"""Of a reply."""

_FEATURES = ("pixel_values", "pixel_values_videos", "input_features")
"""Inputs that are computed with; times and places keep their own precision."""

_NAMED = 3  # names listed in a message before "and n more"


@dataclass(frozen=True, slots=True)
class Reply:
    """What was said, in how many tokens, after how many, and P(A) against P(B) where it concluded."""

    text: str
    tokens: int
    prompt_tokens: int
    probability: float | None


def load_network(
    release: Release, family: Family, config: PreTrainedConfig, *, dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """The network with its weights in `dtype`. What the release holds for a voice is not read.

    Raises DeepSoundError: MODEL_MISSING without all weights, MODEL_FAILED for damaged ones or those of another
    network.
    """
    weight_files(release)
    try:
        with _no_progress_bar():
            network, report = cast(Any, family.network).from_pretrained(
                release.folder,
                config=config,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (SafetensorError, ImportError, OSError, ValueError, KeyError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        what = f"the weights can't be loaded ({str(error).strip()[:300]})"
        raise incomplete(release, ErrorCode.MODEL_FAILED, what) from error
    missing = sorted(report["missing_keys"])
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        what = f"weights are missing: {', '.join(missing[:_NAMED])}{more}"
        raise incomplete(release, ErrorCode.MODEL_FAILED, what)
    return network.to(device).eval()


@contextmanager
def _no_progress_bar() -> Generator[None]:
    """The terminal belongs to the run's own."""
    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def end_tokens(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end the model's turn: those its release names, and the tokenizer's."""
    named = cast(Any, network.generation_config).eos_token_id
    listed = [*(named if isinstance(named, list) else [named]), cast(Any, tokenizer).eos_token_id]
    return sorted({int(token) for token in listed if token is not None})


def answer(
    network: PreTrainedModel, tensors: Mapping[str, Tensor], tokenizer: PreTrainedTokenizerBase, letters: Letters
) -> Reply:
    """The likeliest next token, again and again, until the conclusion's letter.

    The release's own settings for sampling are left out. Raises DeepSoundError MODEL_FAILED for a prompt that
    leaves no room for a reply.
    """
    prompt = int(tensors["input_ids"].shape[1])
    _refuse_too_long(network.config, prompt)
    only_letters = OnlyLetters(tokenizer, letters, prompt=prompt, rows=1)
    ends = end_tokens(network, tokenizer)
    inputs = {
        name: value.to(network.device, network.dtype if name in _FEATURES else value.dtype)
        for name, value in tensors.items()
    }
    with torch.inference_mode():
        said = cast(Any, network).generate(
            **inputs,
            do_sample=False,
            repetition_penalty=1.0,
            max_new_tokens=MOST_TOKENS,
            eos_token_id=ends,
            pad_token_id=ends[0],
            logits_processor=[only_letters],
            stopping_criteria=[OnceAnswered(only_letters)],
        )
    reply = [int(token) for token in said[0, prompt:]]
    text = str(tokenizer.decode(reply, skip_special_tokens=True))
    return Reply(text, len(reply), prompt, only_letters.probabilities[0])


def _refuse_too_long(config: PreTrainedConfig, prompt: int) -> None:
    longest = int(config.get_text_config().max_position_embeddings)
    if prompt + MOST_TOKENS > longest:
        raise DeepSoundError(
            ErrorCode.MODEL_FAILED,
            f"the question, frames and sound are {prompt} tokens, and the reply may be {MOST_TOKENS}, "
            f"where the model takes {longest} together",
            remedy="cut the video into parts, or judge it with the evidence reasoner",
        )
