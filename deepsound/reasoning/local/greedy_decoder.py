"""One reply as it is written: what is offered, what is chosen, when to stop, how likely the answer was."""

from enum import StrEnum

from torch import Tensor

from deepsound.cot import ReplyForm
from deepsound.reasoning.local.answer_tokens import (
    AnswerVocabulary,
    awaits_answer,
    only_letters,
    probability_of_yes,
)
from deepsound.reasoning.local.token_generation import penalised

MOST_TOKENS = 2048
"""The reference's budget for a reply."""

# A token is a byte or more, so the tag that opens the conclusion is within so many of the last ones.
_TAIL = 32


class Ended(StrEnum):
    """Why a reply ended."""

    TURN = "turn"
    """The model ended it."""
    LETTER = "letter"
    """It was stopped at the letter of its conclusion."""
    BUDGET = "budget"
    """It had no end within the budget."""


class GreedyWriter:
    """Writes one reply greedily, under the release's repetition penalty.

    A reply in stages is free until its conclusion is opened; then A and B alone are offered, and the chosen letter
    is its last token. Any other reply is free to its end. `probability` is P(A) / (P(A) + P(B)) from the model's
    own logits, without the penalty, where the letter was chosen; None where none was.
    """

    def __init__(self, words: AnswerVocabulary, penalty: float, form: ReplyForm | None) -> None:
        self._words = words
        self._penalty = penalty
        self._form = form
        self.said: list[int] = []
        self.probability: float | None = None
        self.ended: Ended | None = None

    def __call__(self, logits: Tensor) -> int | None:
        """The next token by these logits (vocabulary,); None once the reply is complete."""
        if self.ended is None and len(self.said) == MOST_TOKENS:
            self.ended = Ended.BUDGET
        if self.ended is not None:
            return None
        token, is_letter = self._choose(logits)
        if token in self._words.ends:
            self.ended = Ended.TURN
            return None
        self.said.append(token)
        if is_letter:
            self.probability = probability_of_yes(logits, self._words.letters)
            if self._form is ReplyForm.STAGES_TO_LETTER:
                self.ended = Ended.LETTER
                return None
        return token

    @property
    def text(self) -> str:
        """What was said."""
        return self._words.text(self.said)

    def _choose(self, logits: Tensor) -> tuple[int, bool]:
        """The likeliest token of those offered, and whether it is the letter of the answer."""
        letters = self._words.letters
        awaits = self._awaits_letter()
        offered = only_letters(logits, letters) if awaits and self._form is ReplyForm.STAGES_TO_LETTER else logits
        token = int(penalised(offered, self.said, self._penalty).argmax())
        return token, awaits and token in (*letters.yes, *letters.no)

    def _awaits_letter(self) -> bool:
        match self._form:
            case ReplyForm.STAGES_TO_LETTER:
                return awaits_answer(self._words.text(self.said[-_TAIL:]))
            case ReplyForm.LETTER:
                return not self.text.strip()
            case _:
                return False
