"""Delivery writes each result completely or not at all, and replaces or removes nothing but its own results."""

import hashlib
import json
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from minio import Minio

from db.schema.records import FinishedStep, StepRef
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.pipeline import Step, VoicePolicy
from deepsound.storage.location import Location, location
from deepsound.storage.protocol import Artifact
from tasks.delivery.deliver import deliver, result_locations
from tasks.runtime.item import PLAN, Item
from tasks.runtime.stores import StoreUrls
from tasks.runtime.time_range import TimeRange
from tasks.runtime.worker import Worker, open_worker
from tests.item_samples import an_item
from tests.s3_servers import S3Server, a_bucket_name

SOUND = os.urandom(200_000)
VOICE = b"the voice that was taken out"

Made = Callable[[Mapping[str, bytes]], FinishedStep]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    folder = tmp_path_factory.mktemp("place")
    return open_worker(StoreUrls(db=f"sqlite:///{folder / 'ledger.sqlite3'}", store=str(folder / "store")))


@pytest.fixture
def item(tmp_path: Path) -> Item:
    return a_judged_item(tmp_path / "out", "reel")


def a_judged_item(out: Location | Path, name: str, video: str = "0" * 64, folder: Path = Path("/archive")) -> Item:
    judged = FinishedStep(StepRef(Step.JUDGE), 7, "evidence", {"verdict": "yes"}, 0.9, (), {})
    item = an_item(out, voice=VoicePolicy.VOICE_OVER)
    return replace(
        item, name=name, source=location(folder / f"{name}.mov"), video_sha256=video, done={judged.at: judged}
    )


@pytest.fixture
def made(worker: Worker, tmp_path: Path) -> Made:
    """Builds a finished publish step with artifacts of these bytes, by role; the video is a .mov."""

    def make(files: Mapping[str, bytes]) -> FinishedStep:
        kept: dict[str, Artifact] = {}
        for role, data in files.items():
            (tmp_path / role).write_bytes(data)
            kept[role] = worker.store.put(tmp_path / role, "application/octet-stream")
        suffix = ".mov" if "video" in files else None
        result = {"outcome": "done", "why": "the voice was removed", "suffix": suffix, "loudness": {"lufs": -23.0}}
        return FinishedStep(StepRef(Step.PUBLISH), 9, "mux", result, None, (), kept)

    return make


@pytest.fixture
def published(made: Made) -> FinishedStep:
    """A publish step with a video, its audio and a stem."""
    return made({"video": SOUND[::-1], "audio": SOUND, "voice": VOICE})


def test_every_published_file_is_written_under_its_name(worker: Worker, item: Item, published: FinishedStep):
    deliver(item, published, worker.store)
    found = {path.name: path.read_bytes() for path in item.settings.out.path.iterdir()}
    sidecar = json.loads(found.pop("reel.json"))
    assert found == {"reel.mov": SOUND[::-1], "reel.wav": SOUND, "reel.voice.wav": VOICE}
    assert sidecar["judgement"] == {"verdict": "yes"}
    assert sidecar["attempts"] == {"judge/1": 7}
    assert sidecar["outputs"]["audio"] == {"file": "reel.wav", "sha256": published.outputs["audio"].sha256}


def test_a_name_may_hold_dots_and_folders(worker: Worker, published: FinishedStep, tmp_path):
    deliver(a_judged_item(tmp_path, "box 3/reel.v2"), published, worker.store)
    assert (tmp_path / "box 3" / "reel.v2.wav").read_bytes() == SOUND


def test_an_outcome_without_artifacts_has_only_a_sidecar(published: FinishedStep):
    withheld = FinishedStep(published.at, 9, "mux", {"suffix": None}, None, (), {})
    assert set(result_locations(location("out"), "reel", withheld)) == {"sidecar"}


def test_a_file_with_the_right_bytes_is_not_rewritten(worker: Worker, item: Item, published: FinishedStep):
    deliver(item, published, worker.store)
    results = [
        file for role, file in result_locations(item.settings.out, "reel", published).items() if role != "sidecar"
    ]
    before = [(file.path.stat().st_ino, file.path.stat().st_mtime_ns) for file in results]
    deliver(item, published, worker.store)
    assert [(file.path.stat().st_ino, file.path.stat().st_mtime_ns) for file in results] == before


@pytest.mark.parametrize("wrong", [b"", SOUND[:-1] + b"\0", SOUND[:1000], SOUND + b"more"])
def test_a_damaged_result_is_replaced(worker: Worker, item: Item, published: FinishedStep, wrong: bytes):
    deliver(item, published, worker.store)
    (item.settings.out.path / "reel.wav").write_bytes(wrong)
    deliver(item, published, worker.store)
    assert (item.settings.out.path / "reel.wav").read_bytes() == SOUND


def contents(out: Location | Path) -> dict[str, bytes]:
    """The files there by name, read without our own code."""
    out = location(str(out))
    if out.path is not None:
        return {path.name: path.read_bytes() for path in out.path.iterdir()}
    client, key = s3_client(), f"{out.key}/"
    names = [str(each.object_name) for each in client.list_objects(out.bucket, key)]
    return {name.removeprefix(key): client.get_object(out.bucket, name).data for name in names}


def put(out: Location | Path, name: str, body: bytes) -> None:
    """Write a file without our own code."""
    out = location(str(out))
    if out.path is not None:
        out.path.mkdir(exist_ok=True)
        (out.path / name).write_bytes(body)
    else:
        s3_client().put_object(out.bucket, f"{out.key}/{name}", BytesIO(body), len(body))


def s3_client() -> Minio:
    secrets = [os.environ[f"DEEPSOUND_S3_{each}_KEY"] for each in ("ACCESS", "SECRET")]
    return Minio(os.environ["DEEPSOUND_S3_ENDPOINT"].removeprefix("http://"), *secrets, secure=False)


@pytest.fixture(params=["folder", "bucket"])
def out(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    """The output: a folder, or a prefix in a bucket."""
    if request.param == "folder":
        return location(tmp_path / "out")
    server: S3Server = request.getfixturevalue("moto")
    for name, value in server.environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    bucket = a_bucket_name()
    s3_client().make_bucket(bucket)
    return location(f"s3://{bucket}/sounded")


@pytest.mark.parametrize("theirs", ["reel.mov", "reel.wav", "reel.voice.wav", "reel.json"])
def test_a_file_that_is_no_result_is_never_replaced(
    worker: Worker, published: FinishedStep, out: Location, theirs: str
):
    body = b'{"source": {"sha256": 1}, "outputs": []}' if theirs == "reel.json" else b"theirs"
    put(out, theirs, body)
    with pytest.raises(DeepSoundError, match="-o") as caught:
        deliver(a_judged_item(out, "reel"), published, worker.store)
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    assert theirs in str(caught.value)
    assert contents(out) == {theirs: body}


def test_results_of_another_video_are_never_replaced(
    worker: Worker, published: FinishedStep, made: Made, out: Location
):
    other = a_judged_item(out, "reel", video="1" * 64, folder=Path("/elsewhere"))
    deliver(other, made({"video": b"other", "audio": b"other sound"}), worker.store)
    before = contents(out)
    with pytest.raises(DeepSoundError, match=r"reel\.json.*another video, /elsewhere/reel\.mov") as caught:
        deliver(a_judged_item(out, "reel"), published, worker.store)
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    assert contents(out) == before


@pytest.mark.parametrize(
    ("folder", "video"),
    [(Path("/archive"), "0" * 64), (Path("/moved"), "0" * 64), (Path("/archive"), "1" * 64)],
    ids=["the same", "moved", "digitised anew"],
)
def test_results_of_the_same_bytes_or_the_same_path_are_replaced(
    worker: Worker, made: Made, published: FinishedStep, out: Location, folder: Path, video: str
):
    deliver(
        a_judged_item(out, "reel", video, folder),
        made({"video": b"of other settings", "audio": b"of other settings"}),
        worker.store,
    )
    deliver(a_judged_item(out, "reel"), published, worker.store)
    told = contents(out)
    assert json.loads(told.pop("reel.json"))["outcome"] == "done"
    assert told == {"reel.mov": SOUND[::-1], "reel.wav": SOUND, "reel.voice.wav": VOICE}


def test_results_that_only_an_earlier_outcome_has_are_removed(
    worker: Worker, made: Made, published: FinishedStep, out: Location
):
    put(out, "reel.srt", b"somebody's subtitles")
    put(out, "reel.coarse.wav", b"somebody's sound")
    deliver(a_judged_item(out, "reel"), published, worker.store)
    deliver(a_judged_item(out, "reel"), made({"voice": VOICE}), worker.store)
    assert json.loads(contents(out)["reel.json"])["outputs"].keys() == {"voice"}
    assert contents(out).keys() == {"reel.json", "reel.voice.wav", "reel.srt", "reel.coarse.wav"}


def test_a_result_that_was_edited_is_not_removed(worker: Worker, made: Made, published: FinishedStep, out):
    deliver(a_judged_item(out, "reel"), published, worker.store)
    put(out, "reel.wav", b"edited by hand")
    deliver(a_judged_item(out, "reel"), made({}), worker.store)
    assert contents(out).keys() == {"reel.json", "reel.wav"}


def test_a_repeated_delivery_removes_what_the_interrupted_one_would_have_removed(
    worker: Worker, made: Made, tmp_path: Path
):
    out, then = tmp_path / "out", made({"coarse": SOUND})
    deliver(a_judged_item(out, "reel"), made({"video": b"picture", "audio": b"sound"}), worker.store)
    with room_for(100_000), pytest.raises(DeepSoundError):
        deliver(a_judged_item(out, "reel"), then, worker.store)
    assert contents(out).keys() == {"reel.json", "reel.mov", "reel.wav"}
    deliver(a_judged_item(out, "reel"), then, worker.store)
    assert contents(out).keys() == {"reel.json", "reel.coarse.wav"}


@pytest.mark.parametrize("named", ["../original.mov", "/etc/hostname", "other.mov", "reel.json", "."])
def test_only_files_that_begin_with_the_sidecars_name_are_removed(
    worker: Worker, made: Made, published: FinishedStep, tmp_path: Path, named: str
):
    """A forged sidecar does not make a delivery remove files elsewhere."""
    out = tmp_path / "out"
    deliver(a_judged_item(out, "reel"), published, worker.store)
    told = json.loads((out / "reel.json").read_text())
    for kept in (tmp_path / "original.mov", out / "other.mov"):
        kept.write_bytes(SOUND)
    told["outputs"] = {"video": {"file": named, "sha256": hashlib.sha256(SOUND).hexdigest()}}
    (out / "reel.json").write_text(json.dumps(told))
    deliver(a_judged_item(out, "reel"), made({}), worker.store)
    assert (tmp_path / "original.mov").is_file()
    assert contents(out).keys() == {"reel.json", "reel.mov", "reel.wav", "reel.voice.wav", "other.mov"}


def test_another_time_range_of_a_video_is_another_source(worker: Worker, published: FinishedStep, tmp_path: Path):
    deliver(a_part(tmp_path, 1.0, 2.0), published, worker.store)
    deliver(a_part(tmp_path, 1.0, 2.0), published, worker.store)
    for other in (a_part(tmp_path, 1.0, 3.0), a_judged_item(tmp_path, "reel")):
        with pytest.raises(DeepSoundError, match="another part of this video"):
            deliver(other, published, worker.store)


def a_part(out: Path, start: float, end: float) -> Item:
    item = replace(a_judged_item(out, "reel"), part=TimeRange(start, end))
    cut = {"excerpt": {"start": start, "end": end}}
    return item.with_step(FinishedStep(PLAN, 1, "constant", cut, None, (), {}))


def test_a_file_with_the_right_bytes_needs_no_sidecar(worker: Worker, published: FinishedStep, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "reel.wav").write_bytes(SOUND)
    deliver(a_judged_item(tmp_path / "out", "reel"), published, worker.store)
    assert (tmp_path / "out" / "reel.json").is_file()


def test_an_interrupted_delivery_is_completed_with_other_bytes(worker: Worker, made: Made, tmp_path: Path):
    """The publish step of a killed worker runs again, and a Broadcast WAV holds the time it was made."""
    out, interrupted = tmp_path / "out", made({"audio": b"made at one", "video": SOUND})
    with room_for(100_000), pytest.raises(DeepSoundError):
        deliver(a_judged_item(out, "reel"), interrupted, worker.store)
    assert (out / "reel.wav").read_bytes() == b"made at one"
    deliver(a_judged_item(out, "reel"), made({"audio": b"made at two", "video": SOUND}), worker.store)
    assert (out / "reel.wav").read_bytes() == b"made at two"


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Make writes beyond `size` bytes of a file fail in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_result_that_can_not_be_written_completely_never_appears(
    worker: Worker, item: Item, published: FinishedStep, made: Made
):
    deliver(item, made({"video": b"of an earlier run"}), worker.store)
    with room_for(100_000), pytest.raises(DeepSoundError, match="the disk is full") as caught:
        deliver(item, published, worker.store)
    assert caught.value.code is ErrorCode.DISK_FULL
    found = {path.name: path.read_bytes() for path in item.settings.out.path.iterdir()}
    told = json.loads(found.pop("reel.json"))
    assert found == {"reel.mov": b"of an earlier run"}
    assert told["outcome"] is None, "a delivery that did not end says so"


def test_an_artifact_that_the_store_lacks_fails_before_any_file_is_written(
    worker: Worker, item: Item, published: FinishedStep
):
    gone = Artifact("0" * 64, 1, "video/mp4")
    lost = FinishedStep(published.at, 9, "mux", published.result, None, (), {"video": gone})
    with pytest.raises(DeepSoundError) as caught:
        deliver(item, lost, worker.store)
    assert caught.value.code is ErrorCode.ARTIFACT_MISSING
    assert list(item.settings.out.path.glob("*")) == []


def test_a_file_in_place_of_the_output_folder_is_a_one_line_error(
    worker: Worker, published: FinishedStep, tmp_path: Path
):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DeepSoundError) as caught:
        deliver(a_judged_item(tmp_path / "out", "reel"), published, worker.store)
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    assert str(tmp_path / "out") in str(caught.value)


def test_bytes_of_a_source_name_that_are_no_utf8_are_escaped_in_the_sidecar(worker, published, tmp_path: Path):
    item = a_judged_item(tmp_path / "out", "reel")
    source = Path(os.fsdecode(b"/archive/bobine \xe9t\xe9.mov"))
    deliver(replace(item, source=source), published, worker.store)
    sidecar = json.loads((tmp_path / "out" / "reel.json").read_text(encoding="utf-8"))
    assert sidecar["source"]["path"] == "/archive/bobine \\xe9t\\xe9.mov"
