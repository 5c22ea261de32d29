"""The generated pages of docs/reference are what the program says."""

import pytest

from tests.reference_pages import REFERENCE, generated


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    return generated()


@pytest.mark.parametrize("page", ["command.md", "errors.md", "settings.md"])
def test_the_page_is_what_the_program_says(expected: dict[str, str], page: str):
    hint = "run `python -m tests.reference_pages` and commit the result"
    assert (REFERENCE / page).read_text() == expected[page], hint
