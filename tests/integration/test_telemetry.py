"""What a worker tells of its work: log lines a machine can read, and metrics for Prometheus."""

import json
import time

import httpx
import pytest

from tests.archive_setup import Archive
from tests.s3_servers import free_port
from tests.voiced_clips import silent_clip

pytestmark = pytest.mark.integration


def test_every_attempt_is_a_line_of_json_and_a_count(archive: Archive):
    port, clip = free_port(), silent_clip(archive.folder / "ball.mp4", seconds=0.5)
    log = archive.folder / "log"
    settings = {"DEEPSOUND_LOG": "json", "DEEPSOUND_METRICS_PORT": str(port)}
    process = archive.start("dub", clip, log=log, **settings)
    told = ""
    while process.poll() is None:
        told = metrics(port) or told
        time.sleep(0.05)
    assert process.returncode == 0, log.read_text()
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    attempts = {line["attempt"]: line for line in lines if "attempt" in line}
    [item] = archive.items()
    for attempt in item.attempts:
        line = attempts[attempt.id]
        assert (line["run"], line["item"], line["step"]) == (item.run_id, item.id, attempt.step)
        assert (line["video"], line["status"]) == (item.video_sha256, attempt.status)
    assert 'deepsound_attempts_total{error="",status="done",step="plan"} 1.0' in told
    assert 'deepsound_step_seconds_count{backend="' in told


def test_a_port_that_is_none_is_one_clear_line(archive: Archive):
    clip = silent_clip(archive.folder / "ball.mp4", seconds=0.5)
    done = archive.command("dub", clip, DEEPSOUND_METRICS_PORT="many")
    assert done.returncode == 2
    assert "DEEPSOUND_METRICS_PORT: 'many' is no port" in done.stderr


def metrics(port: int) -> str:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=1).text
    except httpx.HTTPError:
        return ""
