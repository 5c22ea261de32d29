"""Archive runs as an operator uses them: submit, follow, pause, resume, cancel, schedule, retry, clean up."""

import json
import os
import shutil
import time
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.read.items import find_run
from db.read.run_progress import RunSummary, run_list
from db.read.run_state import find_submission
from db.schema.run_records import EventKind
from db.write.run_events import record_event
from deepsound.pipeline import OutcomeKind
from tasks.operations.run_audit import verify_books
from tests.prefect_workers import Pool, until
from tests.voiced_clips import silent_clip

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


MANY = 24
"""Enough videos to take a worker far longer than the 2 s between its checks for a pause."""


def make_reels(folder: Path, count: int, seconds: float = 0.5) -> Path:
    """Makes clips that differ in content, so that no step is reused, and in name, so that no result collides."""
    folder.mkdir(parents=True)
    for number in range(count):
        silent_clip(folder / f"{folder.name}-{number}.mp4", seconds=seconds + number / 25)
    return folder


def submit(pool: Pool, *arguments: object) -> str:
    return str(json.loads(pool.run("submit", *arguments, "--json"))["run"])


def test_a_submitted_archive_is_processed_without_its_source_folder(pool: Pool):
    reels = make_reels(pool.archive.folder / "handed-over", 3)
    (reels / "broken.mp4").write_bytes(b"not a video")
    run = submit(pool, reels, "--name", "four reels", "--priority", "high")
    # The sources are in the store now; workers on other machines do not see this folder.
    shutil.rmtree(reels)
    progress = pool.wait_for_end(run)
    assert progress.outcomes == {OutcomeKind.DONE: 3, OutcomeKind.FAILED: 1}
    assert progress.errors == {"source_not_media": 1}
    delivered = sorted(path.name for path in (pool.archive.out).rglob("handed-over-*.mp4"))
    assert delivered == ["handed-over-0.mp4", "handed-over-1.mp4", "handed-over-2.mp4"]
    status = json.loads(pool.run("status", run, "--json"))
    assert (status["name"], status["open"], status["outcomes"]) == ("four reels", 0, {"done": 3, "failed": 1})
    assert status["worker_hours"] > 0
    assert "four reels" in pool.run("list")
    until(lambda: verify_books(pool.archive.worker, run, rows_only=True).is_sealed, 60, "the seal of the run")
    pool.run("watch", run, expect=1)
    api = pool.server.api_url
    assert "broken" in report_of(pool, run)
    until(lambda: {f"progress-{run}", f"steps-{run}"} <= artifacts(pool).keys(), 240, "the artifacts of the run")
    queues = {queue["name"] for queue in httpx.post(f"{api}/work_pools/gpu/queues/filter", json={}).json()}
    assert "high" in queues
    [attempt, *_] = next(item for item in pool.archive.items() if item.run_id == run).attempts
    assert attempt.prefect_flow_run_id is not None
    assert attempt.prefect_task_run_id is not None


def artifacts(pool: Pool) -> dict[str, str]:
    """The data of Prefect's artifacts, by key."""
    shown = httpx.post(f"{pool.server.api_url}/artifacts/filter", json={}).json()
    return {artifact["key"]: artifact["data"] for artifact in shown}


def report_of(pool: Pool, run: str) -> str:
    """The report page that Prefect's link artifact points at."""
    until(lambda: f"report-{run}" in artifacts(pool), 240, "the link to the report")
    url = artifacts(pool)[f"report-{run}"].removeprefix("[report.html](").removesuffix(")")
    with urllib.request.urlopen(url) as page:
        return page.read().decode()


def test_bad_manifest_rows_are_named_with_their_lines_and_nothing_starts(pool: Pool):
    manifest = pool.archive.folder / "list.csv"
    manifest.write_text("source,seed\na.mp4,7\nb.mp4,seven\n,8\n")
    done = pool.archive.command("run", "submit", manifest)
    assert done.returncode == 2
    assert "line 3: the seed 'seven' is wrong: input should be a valid integer" in done.stderr
    assert "line 4: no source" in done.stderr
    assert "list.csv" not in pool.run("list")


def test_a_paused_run_stops_within_a_step_and_continues_when_resumed(pool: Pool):
    run = submit(pool, make_reels(pool.archive.folder / "paused", MANY, seconds=1.0))
    until(lambda: pool.progress(run).open_items < MANY, 240, "the end of the first video")
    # Not with the command: starting it takes longer than processing these videos.
    with pool.archive.worker.ledger.write() as session:
        record_event(session, run, EventKind.PAUSED, by="a test", reason="the tape robot needs the machine")
    until(lambda: not json.loads(pool.run("status", run, "--json"))["workers"], 240, "the end of all sessions")
    stopped = pool.progress(run)
    assert 0 < stopped.open_items < MANY
    events = json.loads(pool.run("status", run, "--json"))["events"]
    assert events[-1]["kind"] == "paused"
    assert events[-1]["reason"] == "the tape robot needs the machine"
    pool.run("resume", run)
    assert pool.wait_for_end(run).outcomes == {OutcomeKind.DONE: MANY}
    attempts = [attempt for item in pool.archive.items() if item.run_id == run for attempt in item.attempts]
    finished = [(each.item_id, each.step, each.round) for each in attempts if each.status != "failed"]
    assert len(finished) == len(set(finished)), "no step was done twice"


def test_a_run_scheduled_for_later_keeps_its_time_in_a_sweep_and_can_be_cancelled(pool: Pool):
    run = submit(pool, make_reels(pool.archive.folder / "cancelled", 2), "--at", "2099-12-01 22:00")
    [follower] = flow_runs(pool, {"tags": {"all_": [f"run:{run}"]}})
    starts = datetime.fromisoformat(follower["expected_start_time"])
    assert (follower["state_type"], starts) == ("SCHEDULED", datetime(2099, 12, 1, 22).astimezone())
    assert follower["work_queue_name"] == "normal"
    httpx.delete(f"{pool.server.api_url}/flow_runs/{follower['id']}").raise_for_status()
    pool.run("sweep")
    [follower] = flow_runs(pool, {"tags": {"all_": [f"run:{run}"]}})
    assert datetime.fromisoformat(follower["expected_start_time"]) == starts, "a sweep keeps the start time"
    pool.run("cancel", run)
    status = json.loads(pool.run("status", run, "--json"))
    assert (status["state"], status["open"]) == ("cancelled", 2)


def flow_runs(pool: Pool, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    return httpx.post(f"{pool.server.api_url}/flow_runs/filter", json={"flow_runs": wanted}).json()


@pytest.mark.faults
def test_a_cron_schedule_keeps_its_settings_and_registers_what_the_inputs_contain_when_it_fires(pool: Pool):
    reels = make_reels(pool.archive.folder / "standing", 1)
    asked = (
        "--cron",
        "30 22 * * 5",
        "--name",
        "every Friday",
        "--priority",
        "low",
        "--prompt",
        "rain",
        "--seed",
        "7",
    )
    told = json.loads(pool.run("submit", reels, *asked, "--json"))
    assert told["items"] == 1
    assert scheduled_runs(pool) == [], "nothing is registered before the schedule fires"
    api = pool.server.api_url
    order = httpx.get(f"{api}/deployments/name/dub-on-schedule/cpu").json()
    [schedule] = [each for each in order["schedules"] if each["id"] == told["schedule"]]
    assert schedule["active"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("30 22 * * 5", "UTC")
    settings = schedule["parameters"]["submission"]["settings"]
    assert (settings["prompt"], settings["seed"]) == ("rain", 7)

    silent_clip(reels / "came-later.mp4", seconds=0.9)
    pool.worker("cpu")
    # The same start as by the scheduler, with the parameters of the schedule.
    pool.prefect("deployment", "run", "dub-on-schedule/cpu", "--params", json.dumps(schedule["parameters"]))
    until(lambda: scheduled_runs(pool), 240, "the scheduled run")
    [run] = scheduled_runs(pool)
    assert run.items == 2, "the clip added later is included"
    with pool.archive.worker.ledger.read() as session:
        kept, order = find_run(session, run.run_id), find_submission(session, run.run_id)
    assert kept is not None
    assert order is not None
    assert (kept.settings["prompt"], kept.settings["seed"], order["priority"]) == ("rain", 7, "low")
    until(lambda: flow_runs(pool, {"tags": {"all_": [f"run:{run.run_id}"]}}), 240, "the start of its follower")


def scheduled_runs(pool: Pool) -> list[RunSummary]:
    with pool.archive.worker.ledger.read() as session:
        return [line for line in run_list(session, 100) if line.name == "every Friday"]


def test_the_server_creates_flow_runs_from_a_schedule(pool: Pool):
    api = pool.server.api_url
    sweep = httpx.get(f"{api}/deployments/name/sweep/cpu").json()

    def sweeps() -> set[str]:
        asked = {"deployments": {"id": {"any_": [sweep["id"]]}}}
        return {run["id"] for run in httpx.post(f"{api}/flow_runs/filter", json=asked, timeout=60).json()}

    before = sweeps()

    # The request that the scheduler makes, which is off in tests. 503: the server's SQLite is busy.
    def is_scheduled() -> bool:
        answer = httpx.post(f"{api}/deployments/{sweep['id']}/schedule", json={"max_runs": 1}, timeout=60)
        return answer.status_code != httpx.codes.SERVICE_UNAVAILABLE and bool(answer.raise_for_status())

    until(is_scheduled, 120, "an answer of the server")
    [made] = sweeps() - before
    httpx.delete(f"{api}/flow_runs/{made}").raise_for_status()


def test_a_spent_budget_pauses_the_run(pool: Pool):
    run = submit(pool, make_reels(pool.archive.folder / "budget", 3), "--budget-gpu-hours", "0")
    until(lambda: json.loads(pool.run("status", run, "--json"))["state"] == "paused", 240, "the pause")
    assert json.loads(pool.run("status", run, "--json"))["events"][-1]["kind"] == "budget_spent"
    assert pool.progress(run).open_items == 3


def test_retry_repeats_only_failed_steps(pool: Pool):
    reels = make_reels(pool.archive.folder / "retried", 2)
    whole = (reels / "retried-1.mp4").read_bytes()
    (reels / "retried-1.mp4").write_bytes(whole[:200])
    run = submit(pool, reels)
    assert pool.wait_for_end(run).outcomes == {OutcomeKind.DONE: 1, OutcomeKind.FAILED: 1}
    pool.run("retry", run, "--error", "source_corrupt")
    until(lambda: len(attempts_of(pool, run, "plan")) == 3, 240, "the second attempt")
    assert pool.wait_for_end(run).outcomes == {OutcomeKind.DONE: 1, OutcomeKind.FAILED: 1}
    assert "0 videos" in pool.run("retry", run, "--error", "disk_full")


def test_retry_of_a_named_step_repeats_it_and_reuses_later_steps_with_unchanged_keys(pool: Pool):
    run = submit(pool, make_reels(pool.archive.folder / "anew", 1, seconds=0.7))
    pool.wait_for_end(run)
    assert "1 videos" in pool.run("retry", run, "--step", "judge", "--reason", "a second opinion")
    until(lambda: len(attempts_of(pool, run, "judge")) == 2, 240, "the second judgement")
    pool.wait_for_end(run)
    assert list(attempts_of(pool, run, "judge")) == ["done", "done"]
    assert attempts_of(pool, run, "publish") == ["done", "reused"]
    assert attempts_of(pool, run, "generate") == ["done"]


def attempts_of(pool: Pool, run: str, step: str) -> list[str]:
    items = [item for item in pool.archive.items() if item.run_id == run]
    return [attempt.status for item in items for attempt in item.attempts if attempt.step == step]


def test_housekeeping_keeps_results_and_the_ledger(pool: Pool):
    """Must run last in this module, because it deletes the flow runs of the other tests."""
    run = submit(pool, make_reels(pool.archive.folder / "kept", 1, seconds=2.3))
    pool.wait_for_end(run)
    tags = {"tags": {"all_": [f"run:{run}"]}}
    until(lambda: all(each["end_time"] for each in flow_runs(pool, tags)), 240, "the end of its flow runs")
    made = [item for item in pool.archive.items() if item.run_id == run]
    outputs = {
        (attempt.step, link.artifact_sha256)
        for item in made
        for attempt in item.attempts
        for link in attempt.artifacts
        if link.direction == "output"
    }
    assert {step for step, _ in outputs} > {"publish"}, "no step was reused"
    half, young = (pool.archive.out / f".{digit * 32}.partial" for digit in "ab")
    for path in (half, young):
        path.write_bytes(b"RIFF")
    two_days_ago = time.time() - timedelta(days=2).total_seconds()
    os.utime(half, (two_days_ago, two_days_ago))

    pool.worker("cpu")
    settings = {"DEEPSOUND_RETENTION_DAYS": "0", "DEEPSOUND_PREFECT_DAYS": "0"}
    api = pool.server.api_url
    deployment = httpx.get(f"{api}/deployments/name/housekeeping/cpu").json()["id"]
    started = httpx.post(
        f"{api}/deployments/{deployment}/create_flow_run", json={"job_variables": {"env": settings}}
    ).raise_for_status()
    flow_run = f"{api}/flow_runs/{started.json()['id']}"
    until(lambda: httpx.get(flow_run).json()["end_time"], 180, "the end of housekeeping")
    assert httpx.get(flow_run).json()["state_type"] == "COMPLETED"

    store = pool.archive.worker.store
    assert {step for step, artifact in outputs if store.has(artifact)} == {"publish"}
    assert not half.exists()
    assert young.exists(), "a young partial file may still be in use"
    assert flow_runs(pool, tags) == []
    assert pool.run("status", run), "the ledger still has the run"
    assert not verify_books(pool.archive.worker, run).findings
