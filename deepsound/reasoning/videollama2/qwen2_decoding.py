"""Qwen2 as a language model that reads vectors and writes tokens."""

from torch import Tensor
from transformers import Qwen2ForCausalLM
from transformers.cache_utils import DynamicCache

from deepsound.reasoning.local.token_generation import ForwardPass, KeyValues
from deepsound.reasoning.local.token_generation import prefill as prefill_cache


def prefill_embeddings(language: Qwen2ForCausalLM, embedded: Tensor) -> KeyValues:
    """Read the beginning of a prompt, vectors (length, hidden)."""
    return prefill_cache(
        lambda cache: language.model(inputs_embeds=embedded[None], past_key_values=cache, use_cache=True)
    )


def forward_pass(language: Qwen2ForCausalLM) -> ForwardPass:
    """Its passes: over the vectors of a prompt's rest, then over a token each."""
    table = language.get_input_embeddings()

    def next_logits(given: Tensor, attended: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        output = language(
            inputs_embeds=given if given.is_floating_point() else table(given),
            attention_mask=attended,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    return next_logits
