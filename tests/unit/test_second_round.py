"""Who makes the sound of round 2, the `neg` fallback: the generator itself, unless it names another."""

from pathlib import Path

import pytest

from deepsound.generation.foley import Foley
from deepsound.pipeline import Fallback, VoicePolicy
from tasks.runtime.item import ItemInProgress
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import worker_at
from tests.third_party_backends import install_plugin

IN_ANY_MODE = """
class Plugin:
    name, version, regenerates_with = "in_any_mode", "1", None

    def __init__(self, *, mode: str = "float32"):
        self.mode = mode
"""


def job_with(generator: str, folder: Path) -> ItemInProgress:
    settings = RunSettings(
        generator, "evidence", "mix-minus", Fallback.NEG, VoicePolicy.ALL, "", "", 42, loudness=True, out=folder
    )
    worker = worker_at(StoreUrls(f"sqlite:///{folder / 'ledger.sqlite3'}", str(folder / "store")))
    return ItemInProgress(
        worker, run_id="run", item_id=1, source=folder / "reel.mov", output_name="reel",
        video_sha256=None, settings=settings, done={},
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["", ":float32", ":bfloat16"])
def test_a_generator_is_held_once_however_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    install_plugin(tmp_path / "site", "deepsound.generators", "in_any_mode", IN_ANY_MODE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    job = job_with(f"in_any_mode{mode}", tmp_path)
    assert job.generator(2) is job.generator(1)


def test_a_recording_is_made_anew_by_another(tmp_path: Path) -> None:
    assert isinstance(job_with("soundtrack", tmp_path).generator(2), Foley)
