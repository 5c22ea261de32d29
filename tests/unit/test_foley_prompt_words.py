"""The words that steer the foley generator."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsound.generation.foley.modal_synthesis import BODIES
from deepsound.generation.foley.prompt_words import IMPACTS, VOCABULARY, VOICES, read_prompts
from deepsound.generation.foley.scene_beds import LEVELS


def test_every_word_leads_to_a_sound_there_is() -> None:
    assert set(VOCABULARY) == {*LEVELS, *BODIES, IMPACTS, VOICES}


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("rain", {"rain"}),
        ("Heavy RAIN, on the leaves!", {"rain", "foliage"}),
        ("a storm", {"wind", "rain"}),
        ("footsteps", {"footstep"}),
        ("waves", {"water"}),
        ("glass", {"glass"}),
        ("dishes", {"glass"}),
        ("", set()),
    ],
)
def test_words_in_the_prompt_ask_for_sounds(prompt: str, wanted: set[str]) -> None:
    steering = read_prompts(prompt, "")
    assert steering.wanted == wanted
    assert steering.unknown == ()


def test_the_same_words_in_the_negative_prompt_switch_them_off_and_win() -> None:
    steering = read_prompts("rain and wind", "rain")
    assert steering.wanted == {"wind"}
    assert steering.unwanted == {"rain"}


@pytest.mark.parametrize("prompt", ["no rain", "not rain", "wind without any rain"])
def test_a_no_in_the_prompt_switches_off(prompt: str) -> None:
    assert "rain" in read_prompts(prompt, "").unwanted
    assert "rain" not in read_prompts(prompt, "").wanted


def test_a_no_in_the_negative_prompt_is_not_turned_round() -> None:
    assert read_prompts("", "no rain").unwanted == {"rain"}


def test_words_without_meaning_are_handed_back_once_and_in_order() -> None:
    assert read_prompts("trumpet rain zebra trumpet", "kazoo").unknown == ("trumpet", "zebra", "kazoo")


@pytest.mark.parametrize("words", ["human voice", "voice-over", "voice over", "speech", "narrator"])
def test_voices_are_known_words(words: str) -> None:
    steering = read_prompts("", words)
    assert steering.unwanted == {VOICES}
    assert steering.unknown == ()


def test_words_of_other_scripts_are_words() -> None:
    assert read_prompts("雨 дождь", "").unknown == ("雨", "дождь")


@given(prompt=st.text(), negative=st.text())
def test_any_text_can_be_read(prompt: str, negative: str) -> None:
    steering = read_prompts(prompt, negative)
    assert not steering.wanted & steering.unwanted
    assert steering.wanted | steering.unwanted <= set(VOCABULARY)


def test_the_documented_words_are_the_words_there_are() -> None:
    table = (Path(__file__).parents[2] / "docs" / "design" / "foley.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w[\w ]*) \| ([^|(]+)", table, re.MULTILINE)
    documented = {sound: set(words.replace(",", " ").split()) for sound, words in rows if sound != "sound"}
    assert documented == {sound: set(words.split()) for sound, words in VOCABULARY.items()}
