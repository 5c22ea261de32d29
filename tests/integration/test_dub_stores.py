"""The whole chain on every kind of ledger and store, and what becomes of it when the store goes away."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import make_url, select

from db.integrity.verify import verify_run
from db.read.items import run_ids
from db.schema.tables import Base
from deepsound.canonical_json import sha256_file
from deepsound.errors import ErrorCode
from deepsound.pipeline import OutcomeKind
from deepsound.storage import open_store
from tasks.runtime.stores import StoreUrls
from tests.archive_setup import Archive
from tests.faulty_network import Network, bad_network
from tests.s3_servers import S3Server, a_bucket_name
from tests.voiced_clips import narrated_clip, silent_clip

pytestmark = pytest.mark.integration

PASSWORD = f"ledger-password-{uuid4().hex}"


@pytest.fixture
def postgres_ledger(postgres_url: str) -> str:
    """A ledger whose URL holds a password, as in production."""
    return make_url(postgres_url).set(password=PASSWORD).render_as_string(hide_password=False)


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"


def an_archive(folder: Path, ledger: str, server: S3Server | None, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An archive whose artifacts are in a bucket of this server, or in a folder."""
    if server is None:
        return Archive(folder, StoreUrls(db=ledger, store=str(folder / "store")))
    for name, value in server.environment(folder / "cache").items():
        monkeypatch.setenv(name, value)
    return Archive(folder, StoreUrls(db=ledger, store=f"s3://{a_bucket_name()}/archive"))


@pytest.fixture(
    params=[
        ("postgres_ledger", None),
        ("sqlite_ledger", "moto"),
        ("postgres_ledger", "radosgw"),
    ],
    ids=["postgresql-folder", "sqlite-moto", "postgresql-radosgw"],
)
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, prefect_api: str, monkeypatch) -> Archive:
    """An archive on each kind of ledger and store."""
    ledger, store = request.param
    server = None if store is None else request.getfixturevalue(store)
    server = getattr(server, "server", server)
    return an_archive(tmp_path, request.getfixturevalue(ledger), server, monkeypatch)


def test_a_video_goes_through_everything_and_a_second_time_through_nothing(
    anywhere: Archive, prefect_api: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    clip = narrated_clip(anywhere.folder / "narrated.mp4", seconds=4.0)
    with caplog.at_level(logging.DEBUG):
        [first] = anywhere.dub(clip, generator="soundtrack")
        [second] = anywhere.dub(clip, generator="soundtrack")
    assert (first.outcome, first.verdict) == (OutcomeKind.DONE, "yes")
    assert [str(step.step) for step in first.steps] == [
        "plan", "generate", "judge", "separate", "check_silence", "publish"
    ]  # fmt: skip
    assert first.outputs["video"].path.is_file()
    assert second.was_reused
    assert second.outputs == first.outputs
    assert_books_are_as_written(anywhere)
    assert_artifacts_come_back(anywhere, monkeypatch)
    said = [
        caplog.text,
        first.outputs["sidecar"].path.read_text(),
        *prefect_records(prefect_api),
        *ledger_texts(anywhere),
    ]
    assert_secrets_are_kept(anywhere, "\n".join(said))


def assert_books_are_as_written(archive: Archive) -> None:
    with archive.worker.ledger.read() as session:
        for run_id in run_ids(session):
            assert verify_run(session, run_id) == []


def assert_artifacts_come_back(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every artifact of the ledger, from the store alone: by somebody who has no local copies."""
    monkeypatch.setenv("DEEPSOUND_CACHE_FOLDER", str(archive.folder / "another cache"))
    store = open_store(archive.place.store)
    kept = {
        link.artifact_sha256: link.artifact.size
        for item in archive.items()
        for attempt in item.attempts
        for link in attempt.artifacts
    }
    assert len(kept) >= 7, "observations, coarse audio, voice and background, picture, sound, voice delivered"
    for sha256, size in kept.items():
        with store.local(sha256) as path:
            assert (sha256_file(path), path.stat().st_size) == (sha256, size)


def ledger_texts(archive: Archive) -> Iterator[str]:
    """Every row of every table, as text."""
    with archive.worker.ledger.read() as session:
        for table in Base.metadata.sorted_tables:
            for row in session.execute(select(table)):
                yield repr(tuple(row))


def prefect_records(api: str) -> Iterator[str]:
    """All Prefect knows."""
    for kind in ("flow_runs", "task_runs", "logs"):
        yield httpx.post(f"{api}/{kind}/filter", json={}).raise_for_status().text


def secrets_of(archive: Archive) -> list[str]:
    variables = archive.variables()
    return [PASSWORD, *(variables[name] for name in ("DEEPSOUND_S3_SECRET_KEY",) if name in variables)]


def assert_secrets_are_kept(archive: Archive, said: str) -> None:
    assert "narrated" in said
    for secret in secrets_of(archive):
        assert secret not in said


def test_the_command_works_on_a_database_server_and_a_bucket_and_keeps_their_secrets(
    postgres_ledger: str, moto: S3Server, prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    archive = an_archive(tmp_path, postgres_ledger, moto, monkeypatch)
    clip = narrated_clip(tmp_path / "narrated.mp4", seconds=4.0)
    dubbed = archive.command("dub", clip, "--generator", "soundtrack", "--json")
    assert dubbed.returncode == 0, dubbed.stderr
    result = json.loads(dubbed.stdout)
    [item] = result["items"]
    assert (item["outcome"], item["verdict"]) == ("done", "yes")
    again = archive.command("dub", clip, "--generator", "soundtrack")
    assert "every finished step was found in the ledger and reused" in again.stderr
    shown = archive.command("audit", "show", result["run"], "--json")
    assert json.loads(shown.stdout)["items"][0]["attempts"]
    assert_books_are_as_written(archive)
    said = [part for done in (dubbed, again, shown) for part in (done.stdout, done.stderr)]
    said += [Path(item["outputs"]["sidecar"]).read_text(), *prefect_records(prefect_api), *ledger_texts(archive)]
    assert_secrets_are_kept(archive, "\n".join(said))


@pytest.mark.parametrize(
    ("db", "store", "told"),
    [
        (f"postgresql://deepsound:{PASSWORD}@127.0.0.1:1/ledger", None, "127.0.0.1:1/ledger"),
        (None, f"s3://key:{PASSWORD}@bucket/prefix", "credentials do not belong into a URL"),
    ],
    ids=["ledger", "store"],
)
def test_books_that_cannot_be_opened_are_one_line_without_the_secret(
    archive: Archive, db: str | None, store: str | None, told: str
):
    clip = silent_clip(archive.folder / "ball.mp4")
    refused = archive.command("dub", clip, "--db", db or archive.place.db, "--store", store or archive.place.store)
    assert refused.returncode == 2
    [line] = refused.stderr.splitlines()
    assert told in line
    assert PASSWORD not in line + refused.stdout
    assert not archive.out.exists()


@pytest.fixture
def network(moto: S3Server) -> Iterator[Network]:
    with bad_network(moto) as network:
        yield network


def cut_off(network: Network) -> None:
    """The server takes connections and drops each one, from now on."""
    network.cuts, network.cut_after = 1 << 30, 0


@pytest.mark.faults
def test_a_server_stopped_mid_upload_fails_that_video_alone_and_the_same_command_finishes_it_later(
    network: Network, moto: S3Server, prefect_api: str, sqlite_ledger: str, tmp_path: Path, monkeypatch
):
    archive = an_archive(tmp_path, sqlite_ledger, moto, monkeypatch)
    monkeypatch.setenv("DEEPSOUND_S3_ENDPOINT", "http://{}:{}".format(*network.address))
    monkeypatch.setenv("DEEPSOUND_S3_RETRIES", "1")
    finished, unlucky = silent_clip(tmp_path / "finished.mp4"), silent_clip(tmp_path / "unlucky.mp4", seconds=2.0)
    archive.dub(finished)

    network.up, network.delay = 0, 0.05
    with ThreadPoolExecutor(1) as terminal:
        running = terminal.submit(archive.command, "dub", finished, unlucky)
        network.wait_until("up", 400_000)  # In the middle of the coarse audio of 700 kB.
        cut_off(network)
        stopped = running.result()
    assert stopped.returncode == 1
    [line] = [line for line in stopped.stderr.splitlines() if "unlucky: generate: s3://" in line]
    assert "{}:{}".format(*network.address) in line
    assert "run again" in line
    assert "Traceback" not in stopped.stderr
    *_, done, failed = archive.items()
    assert done.attempts[-1].outcome == OutcomeKind.DONE
    assert [attempt.step for attempt in failed.attempts] == ["plan", *["generate"] * 4]
    for number, attempt in enumerate(failed.attempts[1:], start=1):
        assert (attempt.number, attempt.status) == (number, "failed")
        assert (attempt.error_code, attempt.is_retryable) == (ErrorCode.STORE_UNREACHABLE, True)
    assert [attempt.outcome for attempt in failed.attempts] == [*[None] * 4, OutcomeKind.FAILED]
    assert sorted(path.name for path in archive.out.iterdir()) == ["finished.json", "finished.mp4", "finished.wav"]
    assert_objects_are_whole(moto, archive)

    network.cuts, network.delay = 0, 0.0
    assert [result.outcome for result in archive.dub(finished, unlucky)] == [OutcomeKind.DONE] * 2
    item = archive.items()[-1]
    steps = [(attempt.step, attempt.status) for attempt in item.attempts]
    assert steps == [("plan", "reused"), ("generate", "done"), ("judge", "done"), ("publish", "done")]
    assert (archive.out / "unlucky.mp4").is_file()
    assert_books_are_as_written(archive)


def assert_objects_are_whole(server: S3Server, archive: Archive) -> None:
    """What lies in the bucket is what its name says, whoever stopped whatever."""
    bucket = archive.place.store.removeprefix("s3://").partition("/")[0]
    client = server.client()
    found = list(client.list_objects(bucket, recursive=True))
    assert found
    for each in found:
        kept = archive.folder / "object"
        client.fget_object(bucket, each.object_name, str(kept))
        assert sha256_file(kept) == each.object_name.rpartition("/")[2]


def test_a_server_that_is_back_before_the_tries_run_out_costs_only_time(
    network: Network, moto: S3Server, prefect_api: str, sqlite_ledger: str, tmp_path: Path, monkeypatch
):
    archive = an_archive(tmp_path, sqlite_ledger, moto, monkeypatch)
    monkeypatch.setenv("DEEPSOUND_S3_ENDPOINT", "http://{}:{}".format(*network.address))
    monkeypatch.setenv("DEEPSOUND_S3_RETRIES", "0")
    network.cuts, network.cut_after = 1, 200_000
    [result] = archive.dub(silent_clip(tmp_path / "ball.mp4"))
    assert result.outcome is OutcomeKind.DONE
    generated = [attempt for attempt in archive.items()[0].attempts if attempt.step == "generate"]
    assert [(each.status, each.error_code) for each in generated] == [
        ("failed", ErrorCode.STORE_UNREACHABLE),
        ("done", None),
    ]
    assert_books_are_as_written(archive)


def test_reels_in_a_bucket_become_results_in_a_bucket(moto: S3Server, tmp_path: Path, prefect_api, monkeypatch):
    archive = an_archive(tmp_path, f"sqlite:///{tmp_path / 'ledger.sqlite3'}", moto, monkeypatch)
    client, bucket = moto.client(), a_bucket_name()
    client.make_bucket(bucket)
    clip = silent_clip(tmp_path / "ball.mp4", seconds=0.5)
    client.fput_object(bucket, "reels/1950s/ball.mp4", str(clip))
    done = archive.command("dub", f"s3://{bucket}/reels", "-o", f"s3://{bucket}/sounded", "--json")
    assert done.returncode == 0, done.stderr
    [item] = json.loads(done.stdout)["items"]
    assert item["input"] == f"s3://{bucket}/reels/1950s/ball.mp4"
    delivered = {each.object_name for each in client.list_objects(bucket, "sounded/", recursive=True)}
    assert delivered == {"sounded/1950s/ball.mp4", "sounded/1950s/ball.wav", "sounded/1950s/ball.json"}
    assert item["outputs"]["video"] == f"s3://{bucket}/sounded/1950s/ball.mp4"
    [kept] = archive.items()
    client.fget_object(bucket, "sounded/1950s/ball.mp4", str(tmp_path / "result.mp4"))
    published = {
        link.role: link.artifact_sha256 for link in kept.attempts[-1].artifacts if link.direction == "output"
    }
    assert sha256_file(tmp_path / "result.mp4") == published["video"]
    assert not (tmp_path / "out").exists(), "nothing was written beside the bucket"


def test_a_reel_gone_from_its_bucket_fails_alone(moto: S3Server, tmp_path: Path, prefect_api, monkeypatch):
    archive = an_archive(tmp_path, f"sqlite:///{tmp_path / 'ledger.sqlite3'}", moto, monkeypatch)
    client, bucket = moto.client(), a_bucket_name()
    client.make_bucket(bucket)
    clip = silent_clip(tmp_path / "ball.mp4", seconds=0.5)
    client.fput_object(bucket, "ball.mp4", str(clip))
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"source\ns3://{bucket}/ball.mp4\ns3://{bucket}/gone.mp4\n")
    done = archive.command("dub", manifest, "--json")
    assert done.returncode == 1
    outcomes = {item["input"]: item["outcome"] for item in json.loads(done.stdout)["items"]}
    assert outcomes == {f"s3://{bucket}/ball.mp4": "done", f"s3://{bucket}/gone.mp4": "failed"}
    assert f"s3://{bucket}/gone.mp4: it could not be read when the run was registered" in done.stderr
