"""A local chat model in the whole chain: what the ledger records."""

import pytest

from deepsound.canonical_json import sha256_file
from deepsound.pipeline import OutcomeKind, Step
from tests.archive_setup import Archive
from tests.omni_releases import write_gemma4
from tests.voiced_clips import narrated_clip

pytestmark = pytest.mark.integration


def test_the_ledger_records_a_chat_models_judgement_with_its_weights(
    archive: Archive, capfd: pytest.CaptureFixture[str]
):
    folder = write_gemma4(archive.folder / "models" / "Omni-Tiny")
    clip = narrated_clip(archive.folder / "narrated.mp4", seconds=3.0)
    capfd.readouterr()
    [result] = archive.dub(clip, generator="soundtrack", reasoner=f"omni:{folder}")
    assert (result.outcome, result.verdict) == (OutcomeKind.DONE, "yes"), result.error
    assert "Loading weights" not in capfd.readouterr().err, "the terminal belongs to the run's own progress"
    [item] = archive.items()
    judged = next(attempt for attempt in item.attempts if attempt.step == Step.JUDGE)
    assert judged.backend == "omni:Omni-Tiny"
    assert [thought.stage for thought in judged.thoughts] == ["summary", "caption", "reasoning", "conclusion"]
    assert str(judged.raw_output).endswith("<CONCLUSION> A")
    [decision] = judged.decisions
    assert (decision.value, decision.confidence) == ("yes", pytest.approx(result.probability))
    assert result.probability is not None
    assert 0.5 < result.probability < 1.0
    assert (judged.result["reply_tokens"], judged.result["parameters"]["ended"]) == (11, "letter")
    assert judged.result["prompt_tokens"] > 100
    assert judged.result["seconds"] > 0
    [used] = judged.models
    assert used.model.files["model.safetensors"] == sha256_file(folder / "model.safetensors")
    assert "chat_template.jinja" in used.model.files
