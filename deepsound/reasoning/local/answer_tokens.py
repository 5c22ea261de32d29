"""The verdict as tokens: once the conclusion is opened a model may say A or B and no more."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from deepsound import cot
from deepsound.errors import ModelFailedError

CONCLUSION_TAG = f"<{cot.Stage.CONCLUSION.name}>"


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """The tokens that say A, and those that say B: each with and without a space before."""

    yes: tuple[int, ...]
    no: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnswerVocabulary:
    """A tokenizer and the tokens that are looked for: those that end the model's turn, and the letters."""

    tokenizer: PreTrainedTokenizerBase
    ends: frozenset[int]
    answers: AnswerTokens

    def text(self, tokens: Sequence[int]) -> str:
        """The words of `tokens`."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))


def find_answer_tokens(tokenizer: PreTrainedTokenizerBase, where: Path) -> AnswerTokens:
    """The tokenizer's tokens for the two answers. Raises ModelFailedError if it has none for one."""
    letters = AnswerTokens(_saying(tokenizer, "A"), _saying(tokenizer, "B"))
    if letters.yes and letters.no:
        return letters
    raise ModelFailedError(
        "the tokenizer has no token for the answer A or B",
        where=str(where),
        remedy="use the tokenizer of the release",
    )


def is_answer_next(said: str) -> bool:
    """Whether the next token is the answer: the conclusion is opened and nothing is said in it."""
    return said.rstrip().endswith(CONCLUSION_TAG)


def probability_of_yes(logits: Tensor, letters: AnswerTokens) -> float:
    """P(A) / (P(A) + P(B)) from the logits (vocabulary,) of the answer's token."""
    yes, no = (logits[list(tokens)].float().logsumexp(0) for tokens in (letters.yes, letters.no))
    return float(torch.sigmoid(yes - no))


def keep_answers_only(logits: Tensor, letters: AnswerTokens) -> Tensor:
    """The logits (vocabulary,) with those of everything but A and B at minus infinity."""
    offered = torch.tensor([*letters.yes, *letters.no], device=logits.device)
    return torch.full_like(logits, -torch.inf).index_put((offered,), logits[offered])


def _saying(tokenizer: PreTrainedTokenizerBase, letter: str) -> tuple[int, ...]:
    spelled = (tokenizer(text, add_special_tokens=False).input_ids for text in (letter, f" {letter}"))
    single = (ids[0] for ids in spelled if len(ids) == 1)
    # A token for what a tokenizer does not know says nothing.
    return tuple(token for token in single if str(tokenizer.decode([token])).strip() == letter)
