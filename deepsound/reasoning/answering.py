"""The verdict as tokens: once the conclusion is opened a model may say A or B and no more.

The pieces are plain functions over logits and words, for a decoding loop of one's own; `OnlyLetters` and
`OnceAnswered` are the same for `generate` of transformers.
"""
# transformers leaves its tokenizers without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import BoolTensor, LongTensor, Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase, StoppingCriteria

from deepsound import cot
from deepsound.errors import DeepSoundError, ErrorCode

OPENS = f"<{cot.Stage.CONCLUSION.name}>"
CLOSES = f"</{cot.Stage.CONCLUSION.name}>"

# A token is a byte or more, so the tag and the blanks after it are within so many of the last ones.
_TAG_TOKENS = 2 * len(OPENS)


@dataclass(frozen=True, slots=True)
class Letters:
    """The tokens that say A, and those that say B: each with and without a space before."""

    yes: tuple[int, ...]
    no: tuple[int, ...]


def read_letters(tokenizer: PreTrainedTokenizerBase, where: Path) -> Letters:
    """The tokenizer's tokens for the two answers. Raises DeepSoundError MODEL_FAILED if it has none for one."""
    letters = Letters(_saying(tokenizer, "A"), _saying(tokenizer, "B"))
    if letters.yes and letters.no:
        return letters
    raise DeepSoundError(
        ErrorCode.MODEL_FAILED,
        "the tokenizer has no token for the answer A or B",
        where=str(where),
        remedy="use the tokenizer of the release",
    )


def awaits_answer(said: str) -> bool:
    """Whether the next token is the answer: the conclusion is opened and nothing is said in it."""
    return said.rstrip().endswith(OPENS)


def probability_of_yes(logits: Tensor, letters: Letters) -> float:
    """P(A) / (P(A) + P(B)) from the logits (vocabulary,) of the answer's token."""
    yes, no = (logits[list(tokens)].float().logsumexp(0) for tokens in (letters.yes, letters.no))
    return float(torch.sigmoid(yes - no))


def only_letters(logits: Tensor, letters: Letters) -> Tensor:
    """The logits (vocabulary,) with those of everything but A and B at minus infinity."""
    offered = torch.tensor([*letters.yes, *letters.no], device=logits.device)
    return torch.full_like(logits, -torch.inf).index_put((offered,), logits[offered])


class OnlyLetters(LogitsProcessor):
    """Offers A and B alone where a row awaits its answer, and reads the probability before it does.

    `probabilities` holds, a row each, `probability_of_yes` at its answer, None as long as it has none. Other
    processors have to come after this one, or the logits are no longer the model's own. One serves one call.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, letters: Letters, *, prompt: int, rows: int) -> None:
        self._tokenizer = tokenizer
        self._letters = letters
        self._prompt = prompt
        self.probabilities: list[float | None] = [None] * rows

    def __call__(self, input_ids: LongTensor, scores: Tensor) -> Tensor:
        """Scores (rows, vocabulary), changed in the rows whose next token is the answer."""
        restricted = list(scores)
        for row, tokens in enumerate(input_ids[:, self._prompt :][:, -_TAG_TOKENS:].tolist()):
            said = str(self._tokenizer.decode(tokens, skip_special_tokens=True))
            if self.probabilities[row] is None and awaits_answer(said):
                self.probabilities[row] = probability_of_yes(scores[row], self._letters)
                restricted[row] = only_letters(scores[row], self._letters)
        return torch.stack(restricted)


class OnceAnswered(StoppingCriteria):
    """Ends each row with its answer."""

    def __init__(self, answers: OnlyLetters) -> None:
        self._answers = answers

    def __call__(self, input_ids: LongTensor, scores: object, **kwargs: object) -> BoolTensor:  # noqa: ARG002
        """Which rows (rows,) are done."""
        done = [probability is not None for probability in self._answers.probabilities]
        return cast(BoolTensor, torch.tensor(done, device=input_ids.device))


def _saying(tokenizer: PreTrainedTokenizerBase, letter: str) -> tuple[int, ...]:
    spelled = (tokenizer(text, add_special_tokens=False).input_ids for text in (letter, f" {letter}"))
    single = (ids[0] for ids in spelled if len(ids) == 1)
    # A token for what a tokenizer does not know says nothing.
    return tuple(token for token in single if str(tokenizer.decode([token])).strip() == letter)
