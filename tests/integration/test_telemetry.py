"""Telemetry of a worker: JSON log lines and Prometheus metrics."""

import json
import time

import httpx
import pytest

from tests.archive_setup import Archive
from tests.s3_servers import free_port
from tests.voiced_clips import silent_clip

pytestmark = pytest.mark.integration


def test_every_attempt_is_logged_as_json_and_counted(archive: Archive):
    port, clip = free_port(), silent_clip(archive.folder / "ball.mp4", seconds=0.5)
    log = archive.folder / "log"
    settings = {"DEEPSOUND_LOG": "json", "DEEPSOUND_METRICS_PORT": str(port)}
    process = archive.start("dub", clip, log=log, **settings)
    last_metrics = ""
    while process.poll() is None:
        last_metrics = metrics(port) or last_metrics
        time.sleep(0.05)
    assert process.returncode == 0, log.read_text()
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    attempts = {line["attempt"]: line for line in lines if "attempt" in line}
    [item] = archive.items()
    for attempt in item.attempts:
        line = attempts[attempt.id]
        assert (line["run"], line["item"], line["step"]) == (item.run_id, item.id, attempt.step)
        assert (line["video"], line["status"]) == (item.video_sha256, attempt.status)
    assert 'deepsound_attempts_total{error="",status="done",step="plan"} 1.0' in last_metrics
    assert 'deepsound_step_seconds_count{backend="' in last_metrics


def test_an_invalid_metrics_port_is_one_error_line(archive: Archive):
    clip = silent_clip(archive.folder / "ball.mp4", seconds=0.5)
    done = archive.command("dub", clip, DEEPSOUND_METRICS_PORT="many")
    assert done.returncode == 2
    assert "DEEPSOUND_METRICS_PORT: 'many' is no port" in done.stderr


def metrics(port: int) -> str:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=1).text
    except httpx.HTTPError:
        return ""
