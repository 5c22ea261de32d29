"""The served reasoner in the whole chain: what the ledger records, and that it never records the key."""

import pytest

from deepsound.pipeline import OutcomeKind, Step
from deepsound.reasoning.served.address import KEY_VARIABLE
from tests.archive_setup import Archive
from tests.chat_server import MODEL, YES, chat_server
from tests.voiced_clips import narrated_clip

pytestmark = pytest.mark.integration

KEY = "sk-test.0123456789"


def test_the_ledger_records_a_served_judgement_in_full_and_never_the_key(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    clip = narrated_clip(archive.folder / "narrated.mp4")
    with chat_server() as server:
        for model in (MODEL, MODEL, "acme/Omni-72B"):
            server.models = [model]
            [result] = archive.dub(clip, generator="soundtrack", reasoner=f"served:{server.url}#{model}")
            assert (result.outcome, result.verdict) == (OutcomeKind.DONE, "yes")
            assert result.probability == pytest.approx(0.8)
    assert [request["model"] for request in server.requests] == [MODEL, "acme/Omni-72B"], "once a model"
    assert set(server.authorizations) == {f"Bearer {KEY}"}
    judged = next(attempt for attempt in archive.items()[0].attempts if attempt.step == Step.JUDGE)
    assert judged.raw_output == YES
    assert judged.backend == f"served:{server.url}/v1"
    assert [thought.stage for thought in judged.thoughts] == ["summary", "caption", "reasoning", "conclusion"]
    [decision] = judged.decisions
    assert (decision.value, decision.confidence) == ("yes", pytest.approx(0.8))
    for path in archive.folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("reasoner", ["served:http://me:hush@gpu-7/v1", "soothsayer:http://me:hush@gpu-7"])
def test_an_invalid_reasoner_stops_the_command_before_anything_is_registered(archive: Archive, reasoner: str):
    clip = narrated_clip(archive.folder / "narrated.mp4", seconds=2.0)
    done = archive.command("dub", clip, "--reasoner", reasoner)
    assert done.returncode == 2
    assert "hush" not in done.stdout + done.stderr
    assert not (archive.folder / "ledger.sqlite3").exists()


def test_a_server_without_models_fails_the_video_with_a_clear_error(archive: Archive):
    with chat_server() as server:
        server.models = []
        clip = narrated_clip(archive.folder / "narrated.mp4", seconds=2.0)
        [result] = archive.dub(clip, generator="soundtrack", reasoner=f"served:{server.url}")
    assert result.outcome is OutcomeKind.FAILED
    assert "has no model" in str(result.error)
