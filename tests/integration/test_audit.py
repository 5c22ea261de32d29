"""What an auditor gets to see: everything that was done to a video, from whatever is known of it."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from console.cli.app import app
from db.write.expiry import record_expiry
from db.write.retries import retry_items
from deepsound.canonical_json import sha256_file
from deepsound.pipeline import Step
from tasks.runtime.stores import using_stores
from tests.archive_setup import Archive
from tests.prefect_workers import new_seal_key
from tests.voiced_clips import narrated_clip, silent_clip

pytestmark = pytest.mark.integration


def archive_audit(archive: Archive, *arguments: object) -> Result:
    books = ["--db", archive.place.db]
    return CliRunner().invoke(app, ["audit", *map(str, arguments), *books], catch_exceptions=False)


def audit(archive: Archive, *arguments: object) -> str:
    done = archive_audit(archive, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def narrated(archive: Archive) -> Archive:
    archive.dub(narrated_clip(archive.folder / "reel <b>041.mp4", seconds=3.0), generator="soundtrack")
    return archive


def test_show_finds_a_video_by_whatever_is_known_of_it(narrated: Archive):
    [item] = narrated.items()
    [delivered] = [path for path in narrated.out.glob("*.wav") if ".voice." not in path.name]
    known = [item.id, item.run_id, Path(item.source).name, item.video_sha256, sha256_file(delivered)]
    for name in known:
        [shown] = json.loads(audit(narrated, "show", name, "--json"))["items"]
        assert shown["item"] == item.id


def test_show_tells_inputs_words_decisions_and_effects(narrated: Archive):
    [item] = narrated.items()
    [shown] = json.loads(audit(narrated, "show", item.id, "--json"))["items"]
    attempts = {attempt["step"]: attempt for attempt in shown["attempts"]}
    judged = attempts["judge"]
    assert judged["prompt"].startswith("Given a video and its corresponding audio")
    assert judged["raw_output"].count("<CONCLUSION>") == 1
    assert judged["frames"]
    assert {model["name"] for model in judged["models"]} >= {"silero-vad-16k", "centerface"}
    [decision] = judged["decisions"]
    assert judged["raw_output"][decision["span_start"] : decision["span_end"]] == "A"
    effect = attempts["separate"]["effects"][0]
    assert effect["decision_attempt_id"] == judged["id"]
    assert effect["after_sha256"] in {link["sha256"] for link in attempts["separate"]["artifacts"]}
    for attempt, before in zip(shown["attempts"][1:], shown["attempts"], strict=False):
        assert attempt["previous_hash"] == before["hash"]


def test_show_reads_well_in_a_terminal(narrated: Archive):
    told = audit(narrated, "show", narrated.items()[0].id)
    assert "decided voice-over = yes" in told
    assert "remove_voice" in told
    assert "CAPTION" in told


def test_what_nobody_knows_is_one_clear_line(archive: Archive):
    archive.dub(silent_clip(archive.folder / "ball.mp4", seconds=0.4))
    done = archive.command("audit", "show", "nonesuch")
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert "there is no run, item or file 'nonesuch'" in line


def test_the_report_shows_the_sounds_the_words_and_the_hashes(narrated: Archive):
    [item] = narrated.items()
    page = narrated.folder / "report" / "report.html"
    audit(narrated, "report", item.run_id, "-o", page, "--store", narrated.place.store)
    text = page.read_text(encoding="utf-8")
    assert "<b>041" not in text, "names are data"
    assert text.count("data:image/png;base64,") == 3, "the coarse audio, the removed voice and the published sound"
    for attempt in item.attempts:
        assert attempt.hash in text
        for thought in attempt.thoughts:
            assert thought.text[:60] in text
    for link in ("before", "after"):
        assert f"<figcaption>{link}</figcaption>" in text


def test_what_was_taken_back_is_shown_with_who_did_it_and_why_and_the_books_stay_in_order(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    archive.dub(silent_clip(archive.folder / "ball.mp4", seconds=0.4))
    [item] = archive.items()
    with archive.worker.ledger.write() as session:
        retry_items(session, item.run_id, step=Step.JUDGE, by="kim@desk", reason="a new reasoner")
    assert archive_audit(archive, "reconcile", item.run_id).exit_code == 1, "it is open"
    archive.drive(item.run_id)
    told = audit(archive, "show", item.id)
    assert "judge  taken back with all that followed, to be really done again, by kim@desk" in told
    assert "a new reasoner" in told
    [shown] = json.loads(audit(archive, "show", item.id, "--json"))["items"]
    judged = [attempt for attempt in shown["attempts"] if attempt["step"] == "judge"]
    assert [(attempt["status"], attempt["stands"]) for attempt in judged] == [("done", False), ("done", True)]
    assert shown["retries"][0]["by"] == "kim@desk"
    page = archive.folder / "report.html"
    audit(archive, "report", item.run_id, "-o", page, "--store", archive.place.store)
    rows = re.findall(r"<td>(\w[\w ]*?)( \(taken back\))?</td>", page.read_text(encoding="utf-8"))
    assert [step for step, back in rows if back] == ["judge", "publish"]
    assert {"judge", "publish"} < {step for step, back in rows if not back}
    assert "1 video: 1 done" in audit(archive, "reconcile", item.run_id)
    [checked] = json.loads(audit(archive, "verify", "--json", "--store", archive.place.store))["runs"]
    assert (checked["run"], checked["findings"], checked["expired"]) == (item.run_id, [], 0)
    assert checked["artifacts"] == 4, "observations, coarse audio, video and sound"
    assert not checked["is_sealed"]
    # Only now: Prefect reads its settings once, and the fixture has told it where its server is.
    from flows.scheduled_audit import audit as nightly_audit

    monkeypatch.setenv("DEEPSOUND_SEAL_KEY", new_seal_key(archive.folder))
    with using_stores(archive.place):
        asyncio.run(nightly_audit())
    [checked] = json.loads(audit(archive, "verify", "--json", "--store", archive.place.store))["runs"]
    assert (checked["findings"], checked["is_sealed"]) == ([], True)


def test_artifacts_that_are_gone_or_damaged_are_named_and_what_retention_deleted_is_not(archive: Archive):
    archive.dub(silent_clip(archive.folder / "ball.mp4", seconds=0.4))
    [item] = archive.items()
    kept = {link.role: link.artifact_sha256 for attempt in item.attempts for link in attempt.artifacts}
    for role in ("coarse", "observations"):
        blob(archive, kept[role]).unlink()
    blob(archive, kept["audio"]).chmod(0o644)
    blob(archive, kept["audio"]).write_bytes(b"silence")
    with archive.worker.ledger.write() as session:
        record_expiry(session, [kept["observations"]], "older than 30 days")
    checked = archive_audit(archive, "verify", "--json", "--store", archive.place.store)
    assert checked.exit_code == 1
    [run] = json.loads(checked.stdout)["runs"]
    assert {(found["row"].split()[1], found["problem"]) for found in run["findings"]} == {
        (kept["coarse"], "missing"),
        (kept["audio"], "changed"),
    }
    assert run["expired"] == 1
    rows = audit(archive, "verify", "--rows", "--store", archive.place.store)
    assert "everything is as it was written; no artifacts checked" in rows
    assert archive.command("audit", "verify", "nonesuch").returncode == 2


def blob(archive: Archive, sha256: str) -> Path:
    return Path(archive.place.store) / sha256[:2] / sha256[2:4] / sha256
