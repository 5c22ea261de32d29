"""Once the conclusion is opened there are A and B, and what the model would have said of the two is read."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.reasoning.local.answer_tokens import (
    AnswerTokens,
    find_answer_tokens,
    is_answer_next,
    keep_answers_only,
    probability_of_yes,
)
from tests.omni_releases import QWEN, tokenizer

LETTERS = AnswerTokens((1, 2), (4,))
logits = st.lists(st.floats(-40, 40, width=32), min_size=6, max_size=6)


@pytest.mark.parametrize(
    ("said", "awaits"),
    [
        ("<CONCLUSION>", True),
        ("so </REASONING>\nConclusion stage: ...\n<CONCLUSION> \n", True),
        ("<CONCLUSION> A", False),
        ("<CONCLUSION> A </CONCLUSION>", False),
        ("<CONCLUSION", False),
        ("", False),
    ],
)
def test_the_answer_is_awaited_right_after_the_tag(said: str, awaits: bool) -> None:
    assert is_answer_next(said) is awaits


@given(logits)
def test_a_probability_counts_every_way_to_say_a_letter_and_nothing_else(values: list[float]) -> None:
    yes, no = math.exp(values[1]) + math.exp(values[2]), math.exp(values[4])
    assert probability_of_yes(torch.tensor(values), LETTERS) == pytest.approx(yes / (yes + no), abs=1e-5)


@given(logits)
def test_only_letters_are_offered_and_their_logits_are_as_they_were(values: list[float]) -> None:
    offered = keep_answers_only(torch.tensor(values), LETTERS)
    assert offered.isfinite().nonzero()[:, 0].tolist() == [1, 2, 4]
    assert offered[[1, 2, 4]].tolist() == torch.tensor(values)[[1, 2, 4]].tolist()


def test_the_letters_of_a_tokenizer_are_those_with_a_space_before_and_those_without() -> None:
    words = tokenizer(QWEN)
    letters = find_answer_tokens(words, Path())
    assert [words.decode([token]) for token in (*letters.yes, *letters.no)] == ["A", " A", "B", " B"]


def test_a_tokenizer_without_the_letters_is_refused() -> None:
    model = WordLevel({"A": 0, "what?": 1}, unk_token="what?")
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model))
    with pytest.raises(DeepSoundError, match="no token for the answer A or B") as caught:
        find_answer_tokens(words, Path("release"))
    assert caught.value.code is ErrorCode.MODEL_FAILED
