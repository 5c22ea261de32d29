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

TURNCOAT = """
from dataclasses import replace
from deepsound.reasoning.evidence import Evidence

class Plugin(Evidence):
    name = "turncoat"
    def judge(self, *asked):
        testimony = super().judge(*asked)
        return replace(testimony, raw=testimony.raw.replace("<CONCLUSION> B", "<CONCLUSION> A"))
"""


def test_a_conclusion_against_its_own_reasoning_is_flagged_and_needs_review(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    install_plugin(archive.folder / "site", "deepsound.reasoners", "turncoat", TURNCOAT)
    monkeypatch.syspath_prepend(archive.folder / "site")
    [result] = archive.dub(silent_clip(archive.folder / "ball.mp4"), reasoner="turncoat")
    assert (result.outcome, result.verdict) == ("needs_review", "undecided")
    [item] = archive.items()
    judged = next(attempt for attempt in item.attempts if attempt.step == "judge")
    verdict, flag = judged.decisions
    assert judged.raw_output[verdict.span_start : verdict.span_end] == "A"
    assert (flag.key, flag.value) == ("contradiction", "the conclusion says yes, but the reasoning says no")
    assert "does not contain" in judged.raw_output[flag.span_start : flag.span_end]


@pytest.mark.parametrize("method", ["plan", "judge"])
def test_an_answer_that_cannot_be_read_needs_review(archive: Archive, method: str):
    clip = silent_clip(archive.folder / "ball.mp4")
    plugin = install_plugin(
        archive.folder / "site", "deepsound.reasoners", "mumbler", MUMBLER.format(method=method)
    )
    done = archive.command("dub", clip, "--reasoner", "mumbler", "--plan", "model", "--json", **plugin)
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
