"""A run that was paused or cancelled stays so: commands that would have it done say that, and what to type."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from console.cli.app import app
from db.schema.run_records import EventKind
from db.write.run_events import record_event
from flows.supervisor import pause_stalled_run
from tests.archive_setup import Archive


def broken(archive: Archive) -> Path:
    path = archive.folder / "broken.mp4"
    path.write_bytes(b"no video")
    return path


def typed(archive: Archive, *arguments: object) -> Result:
    place = ["--db", archive.place.db]
    if arguments[1] not in ("watch", "status"):
        place += ["--store", archive.place.store]
    return CliRunner().invoke(app, [*map(str, arguments), *place], catch_exceptions=False)


def note(archive: Archive, run: str, kind: EventKind) -> None:
    with archive.worker.ledger.write() as session:
        record_event(session, run, kind, by="kim@desk")


def ended(archive: Archive) -> str:
    """A submitted run of one video, which has failed."""
    run = archive.submit(broken(archive), str(archive.out))
    archive.work_through(run)
    return run


def test_a_retry_of_a_paused_run_says_that_nothing_starts_and_what_does(quiet_archive: Archive):
    run = ended(quiet_archive)
    note(quiet_archive, run, EventKind.PAUSED)
    done = typed(quiet_archive, "run", "retry", run)
    assert done.exit_code == 1
    assert f"run {run} is paused" in done.stderr
    assert f"deepsound run resume {run}" in done.stderr


def test_watching_a_run_that_was_stopped_ends_and_says_what_goes_on(quiet_archive: Archive):
    run = quiet_archive.submit(broken(quiet_archive), str(quiet_archive.out))
    note(quiet_archive, run, EventKind.CANCELLED)
    done = typed(quiet_archive, "run", "watch", run)
    assert done.exit_code == 1
    assert f"run {run} is cancelled" in done.stderr
    assert f"deepsound run resume {run}" in done.stderr


@pytest.mark.parametrize(("kind", "state"), [(EventKind.PAUSED, "paused"), (EventKind.CANCELLED, "cancelled")])
def test_dub_of_a_run_that_was_stopped_names_what_goes_on(quiet_archive: Archive, kind: EventKind, state: str):
    clip = broken(quiet_archive)
    run = quiet_archive.register(clip)
    note(quiet_archive, run, kind)
    done = typed(quiet_archive, "dub", clip, "-o", quiet_archive.out, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["run"] == run
    assert f"run {run} is {state}" in told["items"][0]["error"]
    assert f"deepsound run resume {run}" in told["items"][0]["error"]
    assert "same command" not in done.stdout + done.stderr


def test_a_run_that_its_follower_gave_up_is_paused_and_status_says_why(quiet_archive: Archive):
    run = quiet_archive.submit(broken(quiet_archive), str(quiet_archive.out))
    given_up = pause_stalled_run(quiet_archive.worker, run, 5)
    assert "5 shards in a row ended without ending a video" in str(given_up)
    assert "deepsound run resume" in str(given_up)
    told = json.loads(typed(quiet_archive, "run", "status", run, "--json").stdout)
    assert told["state"] == "paused", "or the next sweep would start another follower"
    assert told["events"][-1]["reason"] == "5 shards in a row ended without ending a video"


def test_a_run_that_was_cancelled_meanwhile_stays_cancelled(quiet_archive: Archive):
    run = quiet_archive.submit(broken(quiet_archive), str(quiet_archive.out))
    note(quiet_archive, run, EventKind.CANCELLED)
    pause_stalled_run(quiet_archive.worker, run, 5)
    assert json.loads(typed(quiet_archive, "run", "status", run, "--json").stdout)["state"] == "cancelled"
