"""What can't be read is never taken for a no: a person decides, and the coarse audio is kept for that."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from console.cli.app import app
from db.integrity.verify import verify_run
from db.schema.run_records import EventKind
from db.write.run_events import record_event
from deepsound.errors import DeepSoundError
from deepsound.media.audio import audio_format
from tests.archive_setup import Archive
from tests.dummy_reasoner import CODE as METER
from tests.dummy_reasoner import HEARING
from tests.integration.test_dub import sound_of
from tests.third_party_backends import install_plugin
from tests.voiced_clips import narrated_clip, silent_clip

pytestmark = pytest.mark.integration

MUMBLER = """
from dataclasses import replace
from deepsound.reasoning.evidence import Evidence

class Plugin(Evidence):
    name = "mumbler"
    def {method}(self, *asked):
        return replace(super().{method}(*asked), raw="Hm. Hard to say, it could be A or B.")
"""

SHRUGGER = """
from dataclasses import replace
from deepsound.reasoning.evidence import Evidence

class Plugin(Evidence):
    name = "shrugger"
    def judge(self, *asked):
        return replace(super().judge(*asked), raw="Who knows.", probability=None)
"""

TURNCOAT = """
from dataclasses import replace
from deepsound.reasoning.evidence import Evidence

class Plugin(Evidence):
    name = "turncoat"
    def judge(self, *asked):
        reply = super().judge(*asked)
        return replace(reply, raw=reply.raw.replace("<CONCLUSION> B", "<CONCLUSION> A"))
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


def review(archive: Archive, *arguments: object) -> Result:
    place = ["--db", archive.place.db, "--store", archive.place.store]
    return CliRunner().invoke(app, ["review", *map(str, arguments), *place], catch_exceptions=False)


def sidecar(archive: Archive) -> dict[str, Any]:
    return json.loads((archive.out / "reel.json").read_text(encoding="utf-8"))


def delivered(archive: Archive) -> set[str]:
    return {path.name for path in archive.out.iterdir()}


def test_a_person_decides_what_the_judge_could_not_and_only_what_follows_is_done_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    install_plugin(archive.folder / "site", "deepsound.reasoners", "shrugger", SHRUGGER)
    monkeypatch.syspath_prepend(archive.folder / "site")
    clip = narrated_clip(archive.folder / "reel.mp4", seconds=3.0)
    [result] = archive.dub(clip, generator="soundtrack", reasoner="shrugger", loudness="none")
    assert result.outcome == "needs_review"
    [waiting] = json.loads(review(archive, "--json").stdout)["items"]
    coarse = sound_of(Path(waiting["coarse"]))

    done = review(archive, waiting["item"], "--verdict", "yes", "--reason", "a man speaks, and nobody is seen")
    assert done.exit_code == 0, done.output
    told = sidecar(archive)
    assert (told["outcome"], told["review"]["verdict"]) == ("done", "yes")
    assert "the voice was removed; reviewed by " in told["why"]
    assert delivered(archive) == {"reel.json", "reel.mp4", "reel.wav", "reel.voice.wav"}
    assert json.loads(review(archive, "--json").stdout)["items"] == []
    [item] = archive.items()
    separated = next(attempt for attempt in item.attempts if attempt.step == "separate")
    assert separated.result["review"]["seq"] == 1
    assert {effect.decision_attempt_id for effect in separated.effects} == {None}, "no judge said so"

    done = review(archive, "reel.mp4", "--verdict", "no", "--reason", "it is the radio in the picture")
    assert done.exit_code == 0, done.output
    [item] = archive.items()
    assert [attempt.step for attempt in item.attempts].count("judge") == 1
    assert np.array_equal(coarse, sound_of(archive.out / "reel.wav")), "the coarse sound is out"
    assert delivered(archive) == {"reel.json", "reel.mp4", "reel.wav"}, "nothing of earlier endings"
    assert sidecar(archive)["review"]["seq"] == 2
    assert [(said.seq, said.verdict) for said in item.reviews] == [(1, "yes"), (2, "no")]

    with archive.worker.ledger.write() as session:
        record_event(session, item.run_id, EventKind.PAUSED, by="kim@desk")
    done = review(archive, "reel.mp4", "--verdict", "yes", "--reason", "it is a narrator after all")
    assert done.exit_code == 1, "it is ruled, and nothing follows yet"
    assert f"deepsound run resume {item.run_id}" in done.stderr
    with archive.worker.ledger.read() as session:
        assert verify_run(session, item.run_id) == []


def test_where_two_reasoners_do_not_agree_a_person_decides_and_the_ledger_has_what_each_said(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    install_plugin(archive.folder / "site", "deepsound.reasoners", "meter", METER)
    monkeypatch.syspath_prepend(archive.folder / "site")
    [result] = archive.dub(silent_clip(archive.folder / "ball.mp4", seconds=0.4), reasoner="evidence,meter:-90")
    assert (result.outcome, result.verdict) == ("needs_review", "undecided")
    [item] = archive.items()
    judged = next(attempt for attempt in item.attempts if attempt.step == "judge")
    said = {decision.key: decision for decision in judged.decisions}
    assert {key: decision.value for key, decision in said.items()} == {
        "voice-over": "undecided",
        "voice-over by evidence": "no",
        "voice-over by meter:-90": "yes",
    }
    for name, letter in (("evidence", "B"), ("meter:-90", "A")):
        made = said[f"voice-over by {name}"]
        assert judged.raw_output[made.span_start : made.span_end] == letter
    mean = (said["voice-over by evidence"].confidence + said["voice-over by meter:-90"].confidence) / 2
    assert said["voice-over"].confidence == pytest.approx(mean)
    for vote in judged.result["votes"]:
        start, end = vote["raw"]
        assert "<SUMMARY>" in judged.raw_output[start:end]
        assert judged.raw_output[:start].endswith(f"[{vote['reasoner']}]\n")
    assert {link.model.name for link in judged.models} >= {"silero-vad-16k", "centerface"}
    with archive.worker.ledger.read() as session:
        assert verify_run(session, item.run_id) == []


def test_where_two_reasoners_do_not_agree_about_silence_it_is_measured_and_the_ledger_has_what_each_said(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    install_plugin(archive.folder / "site", "deepsound.reasoners", "listener", HEARING)
    monkeypatch.syspath_prepend(archive.folder / "site")
    clip = silent_clip(archive.folder / "ball.mp4", seconds=0.4)
    [result] = archive.dub(clip, reasoner="listener:-90,listener:-80", silence="model")
    assert result.verdict == "yes"
    [item] = archive.items()
    checked = next(attempt for attempt in item.attempts if attempt.step == "check_silence")
    measured = "yes" if checked.result["measured"] else "no"
    contradicting, other = ("listener:-80", "yes") if measured == "no" else ("listener:-90", "no")
    assert {decision.key: decision.value for decision in checked.decisions} == {
        "silent": measured,
        "silent-measured": measured,
        "silent-heard": "undecided",
        "silent-heard by listener:-90": "no",
        "silent-heard by listener:-80": "yes",
        f"contradiction by {contradicting}": f"measured {measured}, {contradicting} says {other}",
    }
    assert checked.raw_output == "[listener:-90]\nThe audio is not silent.\n\n[listener:-80]\nThe audio is silent."
    assert checked.result["reason"] == "listener:-90 says not silent; listener:-80 says silent"
    for vote in checked.result["votes"]:
        assert checked.raw_output[slice(*vote["raw"])].startswith("The audio is")
        assert vote["reply_tokens"] == 5
    with archive.worker.ledger.read() as session:
        assert verify_run(session, item.run_id) == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("17", "--verdict", "no", "--reason", "x"), "there is no item '17'"),
        (("1", "--verdict", "no"), "a review needs a verdict and a reason"),
        (("1", "--verdict", "no", "--reason", "x"), "it ended before anything was judged"),
    ],
)
def test_what_cannot_be_reviewed_is_one_clear_line(archive: Archive, arguments: tuple[str, ...], what: str):
    broken = archive.folder / "broken.mp4"
    broken.write_bytes(b"no video")
    archive.dub(broken)
    with pytest.raises(DeepSoundError, match=what) as refused:
        review(archive, *arguments)
    assert "\n" not in str(refused.value)
