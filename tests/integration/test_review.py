"""What can't be read is never taken for a no: a person decides, and the coarse audio is kept for that."""

import json
from pathlib import Path

import pytest

from deepsound.media.audio import audio_format
from tests.archive import Archive
from tests.footage import silent_clip
from tests.plugins import install_plugin

pytestmark = pytest.mark.integration

MUMBLER = """
from dataclasses import replace
from deepsound.reasoning.evidence import Evidence

class Plugin(Evidence):
    name = "mumbler"
    def {method}(self, *asked):
        return replace(super().{method}(*asked), raw="Hm. Hard to say, it could be A or B.")
"""


@pytest.mark.parametrize("method", ["plan", "judge"])
def test_an_answer_that_cannot_be_read_needs_review(archive: Archive, method: str):
    clip = silent_clip(archive.folder / "ball.mp4")
    plugin = install_plugin(
        archive.folder / "site", "deepsound.reasoners", "mumbler", MUMBLER.format(method=method)
    )
    done = archive.command("dub", clip, "--reasoner", "mumbler", "--json", **plugin)
    assert done.returncode == 0, done.stderr
    [item] = json.loads(done.stdout)["items"]
    assert item["outcome"] == "needs_review"
    assert item["verdict"] == {"plan": None, "judge": "undecided"}[method]
    assert (item["outputs"]["video"], item["outputs"]["audio"]) == (None, None)
    kept = Path(item["outputs"]["stems"]["coarse"])
    assert audio_format(kept).samples == 48_000
    assert not (archive.out / "ball.mp4").exists()
    [row] = archive.items()
    said = next(attempt for attempt in row.attempts if attempt.step == method)
    assert said.raw_output == "Hm. Hard to say, it could be A or B."
    assert said.decisions[0].value == "undecided"
