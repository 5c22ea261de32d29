"""The report of a run beside its results: one page, and a link that opens it."""

import httpx
import pytest

from deepsound.storage.environment import from_environment
from deepsound.storage.s3_settings import S3Settings
from tasks.operations.retention import prune
from tasks.report.report_delivery import deliver_report
from tests.archive_setup import Archive
from tests.integration.test_retention import AT_ONCE
from tests.s3_servers import S3Server, a_bucket_name
from tests.voiced_clips import silent_clip

pytestmark = pytest.mark.integration


def a_run(archive: Archive, out: str) -> str:
    """Of a video that goes through, and of one that is none."""
    silent_clip(archive.folder / "ball.mp4", seconds=0.5)
    (archive.folder / "poem.mp4").write_text("no video")
    manifest = archive.folder / "list.csv"
    manifest.write_text("source\nball.mp4\npoem.mp4\n")
    run = archive.submit(manifest, out)
    archive.work_through(run)
    return run


def test_a_report_in_a_bucket_is_opened_by_its_link_which_holds_no_secret(
    moto: S3Server, quiet_archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    for name, value in moto.environment(quiet_archive.folder / "cache").items():
        monkeypatch.setenv(name, value)
    bucket = a_bucket_name()
    moto.client().make_bucket(bucket)
    run = a_run(quiet_archive, f"s3://{bucket}/out")
    link = deliver_report(quiet_archive.worker, run)
    shown = httpx.get(link)
    assert shown.headers["content-type"].startswith("text/html")
    assert "1 done, 1 failed" in shown.text
    assert "not a media file" in shown.text
    assert from_environment(S3Settings).secret_key.get_secret_value() not in link + shown.text


def test_a_report_lists_every_video_shows_what_is_not_done_and_outlives_retention(quiet_archive: Archive):
    run = a_run(quiet_archive, str(quiet_archive.out))
    prune(quiet_archive.worker, AT_ONCE)
    link = deliver_report(quiet_archive.worker, run)
    page = quiet_archive.out / f"report-{run}.html"
    assert link == page.as_uri()
    text = page.read_text(encoding="utf-8")
    assert 'href="ball.mp4"' in text
    assert text.count("<header") == 1, "only what failed is shown at length"
    assert deliver_report(quiet_archive.worker, run) == link, "a later report takes its place"
