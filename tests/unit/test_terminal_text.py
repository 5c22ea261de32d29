"""What is told to people is one line that a terminal shows as it is, whatever a name or a message holds."""

import json
import os
import unicodedata
from copy import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsound.errors import SourceCorruptError
from deepsound.terminal_text import json_safe, terminal_safe

ANYTHING = st.text(st.characters(categories=None, exclude_categories=()))
"""Lone surrogates too: names that are no text hold them."""


def is_one_plain_line(told: str) -> bool:
    told.encode()
    turned = [letter for letter in told if unicodedata.bidirectional(letter) in _TURNING]
    return not turned and not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in told)


_TURNING = ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")


@given(ANYTHING, ANYTHING, ANYTHING)
def test_an_error_is_one_plain_line_and_its_parts_are_unchanged(what: str, where: str, remedy: str):
    error = SourceCorruptError(what, where=where, remedy=remedy)
    assert is_one_plain_line(str(error))
    assert (error.what, error.where, error.remedy) == (what, where, remedy)
    assert str(copy(error)) == str(error)


@given(ANYTHING)
def test_a_name_becomes_one_plain_line(name: str):
    assert is_one_plain_line(terminal_safe(name))
    assert terminal_safe(terminal_safe(name)) == terminal_safe(name)


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("Bobine été 日本 \N{CLAPPER BOARD}", "Bobine été 日本 \N{CLAPPER BOARD}"),
        (os.fsdecode(b"bobine \xe9t\xe9"), r"bobine \xe9t\xe9"),
        ("reel\n\x1b[31m\x9b", r"reel\n\x1b[31m\x9b"),
        ("reel\u202e4pm.mov", r"reel\u202e4pm.mov"),
    ],
)
def test_characters_that_a_terminal_does_not_print_are_escaped(name: str, escaped: str):
    assert terminal_safe(name) == escaped


@given(ANYTHING)
def test_json_gets_names_unchanged_except_for_invalid_unicode(name: str):
    assert json.loads(json.dumps(json_safe(name), ensure_ascii=False).encode()) == json_safe(name)
    if not any(unicodedata.category(letter) == "Cs" for letter in name):
        assert json_safe(name) == name
