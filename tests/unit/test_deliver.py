"""Delivery: results lie under their names whole or not at all, and what is right already is left alone."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from db.records import FinishedStep, StepRef
from deepsound.artifacts.protocol import Artifact
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.pipeline import Fallback, Step, VoicePolicy
from tasks.deliver import deliver, delivered_places, speakable
from tasks.job import Job
from tasks.place import Place
from tasks.settings import RunSettings
from tasks.worker import Worker, worker_at

SOUND = os.urandom(200_000)
VOICE = b"the voice that was taken out"


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    folder = tmp_path_factory.mktemp("place")
    return worker_at(Place(f"sqlite:///{folder / 'ledger.sqlite3'}", str(folder / "store")))


@pytest.fixture
def job(worker: Worker, tmp_path: Path) -> Job:
    return a_job(worker, tmp_path / "out", "reel")


def a_job(worker: Worker, out: Path, name: str) -> Job:
    settings = RunSettings(
        "foley", "evidence", "mix-minus", Fallback.NEG, VoicePolicy.VOICE_OVER, "", "", 42, loudness=True, out=out
    )
    judged = FinishedStep(StepRef(Step.JUDGE), 7, "evidence", {"verdict": "yes"}, 0.9, (), {})
    return Job(
        worker, run_id="run", item_id=1, source=Path("/archive") / f"{name}.mov", output_name=name,
        video_sha256="0" * 64, settings=settings, done={judged.at: judged},
    )  # fmt: skip


@pytest.fixture
def published(worker: Worker, tmp_path: Path) -> FinishedStep:
    """A publish step whose picture is a .mov with one stem beside it."""
    kept: dict[str, Artifact] = {}
    for role, data in {"video": SOUND[::-1], "audio": SOUND, "voice": VOICE}.items():
        made = tmp_path / role
        made.write_bytes(data)
        kept[role] = worker.store.put(made, "application/octet-stream")
    result = {"outcome": "done", "why": "the voice was removed", "suffix": ".mov", "loudness": {"lufs": -23.0}}
    return FinishedStep(StepRef(Step.PUBLISH), 9, "mux", result, None, (), kept)


def test_every_published_file_lies_under_its_name(job: Job, published: FinishedStep):
    deliver(job, published)
    found = {path.name: path.read_bytes() for path in job.settings.out.iterdir()}
    sidecar = json.loads(found.pop("reel.json"))
    assert found == {"reel.mov": SOUND[::-1], "reel.wav": SOUND, "reel.voice.wav": VOICE}
    assert sidecar["judgement"] == {"verdict": "yes"}
    assert sidecar["attempts"] == {"judge/1": 7}
    assert sidecar["outputs"]["audio"] == {"file": "reel.wav", "sha256": published.outputs["audio"].sha256}


def test_a_dot_in_a_name_is_no_suffix_and_a_folder_in_it_is_made(
    worker: Worker, published: FinishedStep, tmp_path
):
    deliver(a_job(worker, tmp_path, "box 3/reel.v2"), published)
    assert (tmp_path / "box 3" / "reel.v2.wav").read_bytes() == SOUND


def test_where_nothing_is_put_out_there_is_no_place_for_a_picture(published: FinishedStep):
    withheld = FinishedStep(published.at, 9, "mux", {"suffix": None}, None, (), {})
    assert set(delivered_places(Path("out"), "reel", withheld)) == {"sidecar"}


def test_the_right_bytes_that_lie_there_are_not_touched(job: Job, published: FinishedStep):
    deliver(job, published)
    results = [
        path for role, path in delivered_places(job.settings.out, "reel", published).items() if role != "sidecar"
    ]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in results]
    deliver(job, published)
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in results] == before


@pytest.mark.parametrize("wrong", [b"", SOUND[:-1] + b"\0", SOUND[:1000], SOUND + b"more"])
def test_wrong_bytes_under_a_results_name_are_replaced(job: Job, published: FinishedStep, wrong: bytes):
    job.settings.out.mkdir()
    (job.settings.out / "reel.wav").write_bytes(wrong)
    deliver(job, published)
    assert (job.settings.out / "reel.wav").read_bytes() == SOUND


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Writing a file beyond `size` bytes fails in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_result_that_could_not_be_written_whole_never_has_its_name(job: Job, published: FinishedStep):
    job.settings.out.mkdir()
    (job.settings.out / "reel.mov").write_bytes(b"of an earlier run")
    with room_for(100_000), pytest.raises(DeepSoundError, match="file too large") as caught:
        deliver(job, published)
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    assert {path.name: path.read_bytes() for path in job.settings.out.iterdir()} == {
        "reel.mov": b"of an earlier run"
    }


def test_a_result_the_store_lost_is_missed_before_anything_has_its_name(
    worker: Worker, job: Job, published: FinishedStep
):
    gone = Artifact("0" * 64, 1, "video/mp4")
    lost = FinishedStep(published.at, 9, "mux", published.result, None, (), {"video": gone})
    with pytest.raises(DeepSoundError) as caught:
        deliver(job, lost)
    assert caught.value.code is ErrorCode.ARTIFACT_MISSING
    assert list(job.settings.out.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_one_clear_line(
    worker: Worker, published: FinishedStep, tmp_path: Path
):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DeepSoundError) as caught:
        deliver(a_job(worker, tmp_path / "out", "reel"), published)
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    assert str(tmp_path / "out") in str(caught.value)


def test_a_source_whose_name_is_no_text_is_spelled_in_the_sidecar(worker, published, tmp_path: Path):
    job = a_job(worker, tmp_path / "out", "reel")
    job.source = Path(os.fsdecode(b"/archive/bobine \xe9t\xe9.mov"))
    deliver(job, published)
    sidecar = json.loads((tmp_path / "out" / "reel.json").read_text(encoding="utf-8"))
    assert sidecar["source"]["path"] == "/archive/bobine \\xe9t\\xe9.mov"


def test_names_that_are_text_are_spoken_as_they_are():
    assert speakable("Bobine été 日本") == "Bobine été 日本"
