"""Several replies written side by side, one token each at a time, over key-value caches their prompts may share.

Prompts of unequal length are padded on the left; what is padding nobody attends to, and positions count what is
attended to alone, so a reply is the same in whatever company it is written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import DynamicCache, DynamicLayer

TokenChooser = Callable[[Tensor], int | None]
"""Given the logits (vocabulary,) in float32 of the next token, chooses it; None once the reply is complete."""

ForwardPass = Callable[[Tensor, Tensor, Tensor, DynamicCache], Tensor]
"""One pass of a language model: given tokens (rows, length), or vectors (rows, length, hidden) where prompts hold
those, what is attended to (rows, length of all), positions (rows, length) and the cache, which grows; returns the
logits (rows, vocabulary) in float32 of what comes next."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyValues:
    """What a language model keeps of text it has read: keys and values (heads, length, dim), a pair a layer."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def length(self) -> int:
        """How many tokens were read."""
        return self.layers[0][0].shape[1]

    @property
    def size(self) -> int:
        """Memory it takes, in bytes."""
        return sum(tensor.nbytes for pair in self.layers for tensor in pair)


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What a reply follows: what was read, at least one token, and what is still to be read, at least one token.

    `rest` are tokens (length,) or vectors (length, hidden), as the model's pass takes them. `ahead` is how far
    positions there and after are beyond the number of tokens: below 0 where some share theirs.
    """

    prefix: KeyValues
    rest: Tensor
    position_offset: int = 0

    @property
    def length(self) -> int:
        """Tokens of the whole."""
        return self.prefix.length + len(self.rest)


def prefill(body: Callable[[DynamicCache], object], after: KeyValues | None = None) -> KeyValues:
    """What `body`, a pass of a language model over one text, puts into a cache that holds `after`."""
    cache = DynamicCache() if after is None else DynamicCache(ddp_cache_data=_side_by_side([after]))
    body(cache)
    layers = (layer for layer in cache.layers if isinstance(layer, DynamicLayer))
    return KeyValues(tuple((_known(layer.keys)[0], _known(layer.values)[0]) for layer in layers))


def generate(following: ForwardPass, prompts: Sequence[Prompt], writers: Sequence[TokenChooser]) -> None:
    """Ask each writer for its tokens until the last one is done; who is done leaves the batch."""
    cache = DynamicCache(ddp_cache_data=_side_by_side([prompt.prefix for prompt in prompts]))
    given = _left_padded([prompt.rest for prompt in prompts])
    attended = torch.cat(
        [
            _left_padded([torch.ones(part, dtype=torch.long, device=given.device) for part in parts])
            for parts in ([prompt.prefix.length for prompt in prompts], [len(prompt.rest) for prompt in prompts])
        ],
        dim=1,
    )
    ahead = torch.tensor([[prompt.position_offset] for prompt in prompts], device=given.device)
    writing = list(writers)
    while writing:
        positions = (attended.cumsum(1) - 1 + ahead).clamp(min=0)[:, -given.shape[1] :]
        logits = following(given, attended, positions, cache)
        tokens = [writer(row) for writer, row in zip(writing, logits, strict=True)]
        going = [row for row, token in enumerate(tokens) if token is not None]
        if len(going) < len(writing):
            rows = torch.tensor(going, dtype=torch.long, device=given.device)
            cache.batch_select_indices(rows)
            writing, attended, ahead = [writing[row] for row in going], attended[rows], ahead[rows]
        given = torch.tensor([[tokens[row]] for row in going], dtype=torch.long, device=logits.device)
        attended = functional.pad(attended, (0, 1), value=1)


def apply_repetition_penalty(logits: Tensor, said: Sequence[int], penalty: float) -> Tensor:
    """Logits (vocabulary,) under the repetition penalty of CTRL (Keskar et al., arXiv 1909.05858); 1 is none.

    It weighs on what was said: a prompt of vectors has no tokens to repeat.
    """
    if not said or penalty == 1.0:
        return logits
    repeated = torch.tensor(sorted(set(said)), device=logits.device)
    scores = logits[repeated]
    return logits.index_put((repeated,), torch.where(scores < 0, scores * penalty, scores / penalty))


def _side_by_side(reads: Sequence[KeyValues]) -> list[tuple[Tensor, Tensor]]:
    """One pair (rows, heads, length, dim) a layer, zeros on the left of the shorter ones."""
    longest = max(one.length for one in reads)

    def stacked(tensors: Sequence[Tensor]) -> Tensor:
        return torch.stack([functional.pad(tensor, (0, 0, longest - tensor.shape[1], 0)) for tensor in tensors])

    rows = zip(*(one.layers for one in reads), strict=True)
    return [(stacked([keys for keys, _ in row]), stacked([values for _, values in row])) for row in rows]


def _left_padded(rows: Sequence[Tensor]) -> Tensor:
    """Tensors (length, ...) as one (rows, longest, ...), zeros on the left."""
    longest = max(len(row) for row in rows)
    filled = [torch.cat([row.new_zeros((longest - len(row), *row.shape[1:])), row]) for row in rows]
    return torch.stack(filled)


def _known(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ValueError("a layer of the language model kept nothing of what it read")
    return tensor
