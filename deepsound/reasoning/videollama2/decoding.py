"""Greedy decoding, one token at a time, with the key-value cache and the logits in the caller's hands."""

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM
from transformers.cache_utils import DynamicCache


def next_logits(language: Qwen2ForCausalLM, embedded: Tensor, cache: DynamicCache) -> Tensor:
    """Logits (vocabulary,) in float32 of the token after `embedded` (1, length, hidden); `cache` grows."""
    output = language(inputs_embeds=embedded, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return output.logits[0, -1].float()


def greedy(
    language: Qwen2ForCausalLM, prompt: Tensor, cache: DynamicCache, penalty: float
) -> Iterator[tuple[int, Tensor]]:
    """Token after token, each with the logits it was chosen from, until the caller has heard enough.

    `penalty` is the repetition penalty of CTRL (Keskar et al., arXiv 1909.05858) over what was generated: the
    prompt, being vectors, has no tokens to repeat. 1 is none.
    """
    said: list[int] = []
    embedded = prompt
    while True:
        logits = next_logits(language, embedded, cache)
        token = int(_penalised(logits, said, penalty).argmax())
        yield token, logits
        said.append(token)
        embedded = language.get_input_embeddings()(torch.tensor([[token]], device=prompt.device))


def _penalised(logits: Tensor, said: list[int], penalty: float) -> Tensor:
    if not said or penalty == 1.0:
        return logits
    repeated = torch.tensor(sorted(set(said)), device=logits.device)
    scores = logits[repeated]
    return logits.index_put((repeated,), torch.where(scores < 0, scores * penalty, scores / penalty))
