"""Who makes the sound of round 2, the `neg` fallback: the generator itself, unless it names another."""

from pathlib import Path

import pytest

from deepsound.generation.foley import Foley
from tasks.runtime.backend_choice import choose_generator
from tests.item_samples import an_item
from tests.third_party_backends import install_plugin

IN_ANY_MODE = """
class Plugin:
    name, version, regenerates_with = "in_any_mode", "1", None

    def __init__(self, *, mode: str = "float32"):
        self.mode = mode
"""


@pytest.mark.parametrize("mode", ["", ":float32", ":bfloat16"])
def test_a_generator_is_held_once_however_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    install_plugin(tmp_path / "site", "deepsound.generators", "in_any_mode", IN_ANY_MODE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    settings = an_item(tmp_path, generator=f"in_any_mode{mode}").settings
    assert choose_generator(settings, 2) is choose_generator(settings, 1)


def test_a_recording_is_made_anew_by_another(tmp_path: Path) -> None:
    assert isinstance(choose_generator(an_item(tmp_path, generator="soundtrack").settings, 2), Foley)
