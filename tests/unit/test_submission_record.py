"""What an order keeps: enough to be carried out later, by somebody else, elsewhere."""

from pathlib import Path

import pytest

from console.cli.settings import settings_from
from tasks.operations.submission import Submission


def test_inputs_of_an_order_mean_the_same_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    inputs = ["reels", "/archive/list.csv", "s3://reels/1950s"]
    order = Submission(inputs, settings_from(out="out").run, None, "cpu", "normal", None)
    assert order.to_json()["inputs"] == [str(tmp_path / "reels"), "/archive/list.csv", "s3://reels/1950s"]


def test_an_order_keeps_from_when_on_and_one_that_was_kept_without_is_for_at_once():
    asked = Submission(["reels"], settings_from().run, None, "cpu", "normal", None, at="2099-12-01T21:00:00+00:00")
    kept = asked.to_json()
    assert Submission.from_json(kept).at == "2099-12-01T21:00:00+00:00"
    del kept["at"]
    assert Submission.from_json(kept).at is None
