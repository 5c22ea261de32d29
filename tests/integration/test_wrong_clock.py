"""A machine whose clock is so wrong that the store refuses what it signs: it leaves the videos to others."""

import subprocess
import sys
from pathlib import Path

import pytest

from db.read.items import run_ids
from deepsound.pipeline import OutcomeKind
from tasks.runtime.stores import StoreUrls
from tests.archive_setup import Archive
from tests.s3_servers import RadosGateway, a_bucket_name
from tests.voiced_clips import silent_clip
from tests.wrong_clock import wrong_clock

pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.timeout(600)]


def test_whom_the_store_refuses_spoils_no_video(
    radosgw: RadosGateway, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in radosgw.server.environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    archive = Archive(
        tmp_path, StoreUrls(db=f"sqlite:///{tmp_path / 'ledger.sqlite3'}", store=f"s3://{a_bucket_name()}/store")
    )
    run_id = archive.register(silent_clip(tmp_path / "ball.mp4", seconds=0.5))
    program = (
        "import sys; from flows.local_run import drive_run;"
        "from tasks.runtime.stores import environment_store_urls as here;"
        "from tasks.runtime.worker import open_worker; drive_run(open_worker(here()), here(), sys.argv[1], print)"
    )
    late = subprocess.run(
        [sys.executable, "-c", program, run_id],
        env=archive.variables(**wrong_clock(tmp_path, 3600)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert late.returncode
    assert "the server refused (RequestTimeTooSkewed); set this machine's clock" in late.stderr
    [item] = archive.items()
    assert item.attempts == []
    [result] = archive.drive(run_id)
    assert result.outcome is OutcomeKind.DONE
    with archive.worker.ledger.read() as session:
        assert run_ids(session) == [run_id]
