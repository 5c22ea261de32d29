"""One reply as it is written: what is offered, what is chosen, when to stop, how likely the answer was."""

from enum import StrEnum

from torch import Tensor

from deepsound.cot import ReplyForm
from deepsound.reasoning.local.answer_tokens import (
    AnswerVocabulary,
    is_answer_next,
    keep_answers_only,
    probability_of_yes,
)
from deepsound.reasoning.local.token_generation import apply_repetition_penalty

MAX_NEW_TOKENS = 2048
"""The reference's budget for a reply."""

# A token is a byte or more, so the tag that opens the conclusion is within so many of the last ones.
_TAIL = 32


class StopReason(StrEnum):
    """Why a reply ended."""

    TURN = "turn"
    """The model ended it."""
    LETTER = "letter"
    """It was stopped at the letter of its conclusion."""
    BUDGET = "budget"
    """It had no end within the budget."""


class GreedyDecoder:
    """Writes one reply greedily, under the release's repetition penalty.

    A reply in stages is free until its conclusion is opened; then A and B alone are offered, and the chosen letter
    is its last token. Any other reply is free to its end. `probability` is P(A) / (P(A) + P(B)) from the model's
    own logits, without the penalty, where the letter was chosen; None where none was.
    """

    def __init__(self, words: AnswerVocabulary, penalty: float, form: ReplyForm | None) -> None:
        self._words = words
        self._penalty = penalty
        self._form = form
        self.tokens: list[int] = []
        self.probability: float | None = None
        self.stop_reason: StopReason | None = None

    def __call__(self, logits: Tensor) -> int | None:
        """The next token by these logits (vocabulary,); None once the reply is complete."""
        if self.stop_reason is None and len(self.tokens) == MAX_NEW_TOKENS:
            self.stop_reason = StopReason.BUDGET
        if self.stop_reason is not None:
            return None
        token, is_letter = self._choose(logits)
        if token in self._words.ends:
            self.stop_reason = StopReason.TURN
            return None
        self.tokens.append(token)
        if is_letter:
            self.probability = probability_of_yes(logits, self._words.answers)
            if self._form is ReplyForm.STAGES_TO_LETTER:
                self.stop_reason = StopReason.LETTER
                return None
        return token

    @property
    def text(self) -> str:
        """What was said."""
        return self._words.text(self.tokens)

    def _choose(self, logits: Tensor) -> tuple[int, bool]:
        """The likeliest token of those offered, and whether it is the letter of the answer."""
        letters = self._words.answers
        awaits = self._awaits_letter()
        offered = (
            keep_answers_only(logits, letters) if awaits and self._form is ReplyForm.STAGES_TO_LETTER else logits
        )
        token = int(apply_repetition_penalty(offered, self.tokens, self._penalty).argmax())
        return token, awaits and token in (*letters.yes, *letters.no)

    def _awaits_letter(self) -> bool:
        match self._form:
            case ReplyForm.STAGES_TO_LETTER:
                return is_answer_next(self._words.text(self.tokens[-_TAIL:]))
            case ReplyForm.LETTER:
                return not self.text.strip()
            case _:
                return False
