"""A kind of location that somebody else installs is used like a folder or a bucket, without a change here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepsound.errors import DeepSoundError
from deepsound.pipeline import OutcomeKind
from deepsound.storage import open_store
from deepsound.storage.location import location
from tasks.operations.retention import prune, sweep_orphans, sweep_unfinished
from tasks.report.report_delivery import deliver_report
from tasks.runtime.stores import StoreUrls
from tests.archive_setup import Archive
from tests.integration.test_retention import AT_ONCE
from tests.location_behaviour import LocationBehaviour
from tests.store_behaviour import StoreBehaviour
from tests.third_party_backends import install_plugin
from tests.voiced_clips import silent_clip

DEMO = '''
"""demo://bucket/key: each bucket is a folder below DEMO_ROOT, each object a file named by its whole key."""

import os
import shutil
import time
from pathlib import Path
from urllib.parse import quote, unquote
from uuid import uuid4

from deepsound.errors import SourceMissingError
from deepsound.storage.object_location import ObjectLocation
from deepsound.storage.protocol import FileStat


class DemoLocation(ObjectLocation):
    scheme = "demo"

    @property
    def _bucket_folder(self):
        return Path(os.environ["DEMO_ROOT"]) / self.bucket

    @property
    def _file(self):
        return self._bucket_folder / quote(self.key, safe="")

    def stat(self):
        return FileStat(self._file.stat().st_size) if self.key and self._file.exists() else None

    def blocks(self):
        try:
            yield self._file.read_bytes()
        except OSError as error:
            raise SourceMissingError("there is no such object", where=str(self)) from error

    def files(self, *, older_than=None, on_unreadable=None):
        for file in sorted(self._bucket_folder.glob("*"), key=lambda file: unquote(file.name)):
            place = DemoLocation(self.bucket, unquote(file.name))
            is_old = older_than is None or file.stat().st_mtime < time.time() - older_than.total_seconds()
            if is_old and place.relative_to(self) is not None:
                yield place

    def put(self, source, media_type, sha256):
        self._bucket_folder.mkdir(parents=True, exist_ok=True)
        partial = self._bucket_folder.parent / uuid4().hex
        shutil.copyfile(source, partial)
        partial.replace(self._file)

    def delete(self):
        self._file.unlink(missing_ok=True)


Plugin = DemoLocation.parse
'''


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """The package is installed, and what it needs to know is set."""
    variables = install_plugin(tmp_path / "site", "deepsound.locations", "demo", DEMO)
    monkeypatch.syspath_prepend(variables["PYTHONPATH"])
    monkeypatch.setenv("DEMO_ROOT", str(tmp_path / "objects"))
    monkeypatch.setenv("DEEPSOUND_CACHE_FOLDER", str(tmp_path / "cache"))
    return monkeypatch


@pytest.mark.usefixtures("environment")
class TestDemoLocation(LocationBehaviour):
    @pytest.fixture
    def folder(self):
        return location("demo://reels/out")


@pytest.mark.usefixtures("environment")
class TestStoreAtDemoLocation(StoreBehaviour):
    @pytest.fixture
    def store(self):
        return open_store("demo://artifacts/archive")


def upload(place: str, file: Path) -> None:
    location(place).put(file, "application/octet-stream", "0" * 64)


@pytest.fixture
def archive(environment, tmp_path) -> Archive:
    """Artifacts are kept at the third party's location, and reels lie there."""
    upload("demo://reels/1950s/ball.mp4", silent_clip(tmp_path / "ball.mp4", seconds=0.5))
    (tmp_path / "list.csv").write_text("source,prompt\n1950s/ball.mp4,rain\ngone.mp4,\n", encoding="utf-8")
    upload("demo://reels/list.csv", tmp_path / "list.csv")
    return Archive(
        tmp_path, StoreUrls(db=f"sqlite:///{tmp_path / 'ledger.sqlite3'}", store="demo://artifacts/archive")
    )


def names(place: str) -> list[str]:
    return [str(file.relative_to(location(place))) for file in location(place).files()]


def test_sources_results_artifacts_and_reports_may_lie_at_a_third_partys_location(archive: Archive):
    run = archive.submit("demo://reels/1950s", "demo://results/sounded")
    [result] = archive.work_through(run)
    assert result.outcome is OutcomeKind.DONE
    assert result.source == "demo://reels/1950s/ball.mp4"
    assert names("demo://results/sounded") == ["ball.json", "ball.mp4", "ball.wav"]
    sidecar = json.loads(b"".join(location("demo://results/sounded/ball.json").blocks()))
    assert sidecar["source"]["path"] == "demo://reels/1950s/ball.mp4"
    assert len(names("demo://artifacts/archive")) >= 4
    assert deliver_report(archive.worker, run) == f"demo://results/sounded/report-{run}.html"
    assert prune(archive.worker, AT_ONCE).intermediates > 0
    assert sweep_orphans(archive.worker, AT_ONCE) == 0
    assert sweep_unfinished(archive.worker, AT_ONCE).store == 0
    assert not archive.out.exists()


def test_a_list_at_a_third_partys_location_names_sources_beside_it(archive: Archive):
    run = archive.submit("demo://reels/list.csv", "demo://results/listed")
    done, missing = archive.work_through(run)
    assert (done.outcome, done.source) == (OutcomeKind.DONE, "demo://reels/1950s/ball.mp4")
    assert (missing.outcome, missing.source) == (OutcomeKind.FAILED, "demo://reels/gone.mp4")


def test_a_file_of_somebody_else_is_left_as_it_is(archive: Archive, tmp_path: Path):
    (tmp_path / "theirs").write_bytes(b"theirs")
    upload("demo://results/sounded/ball.wav", tmp_path / "theirs")
    [result] = archive.work_through(archive.submit("demo://reels/1950s", "demo://results/sounded"))
    assert "demo://results/sounded/ball.wav: a file that is no result of this video" in (result.error or "")
    assert b"".join(location("demo://results/sounded/ball.wav").blocks()) == b"theirs"


def test_a_kind_of_location_is_imported_when_it_is_used_and_not_before(environment, tmp_path):
    code = (
        "import sys; from deepsound.storage.location import location as at\n"
        "for text in ('/reels', 'demo://reels'): at(text); print('demo' in sys.modules)"
    )
    search = ":".join(map(str, (tmp_path / "site", *sys.path)))
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "False\nTrue\n"


def test_a_package_that_cannot_be_imported_is_named(tmp_path, monkeypatch):
    install_plugin(tmp_path / "site", "deepsound.locations", "broken", "import there_is_no_such_module")
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(DeepSoundError, match="location 'broken' cannot be imported"):
        location("broken://reels")
