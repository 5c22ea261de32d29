"""Licences: what weights allow is said before they are used; `commercial` refuses those that do not allow it."""

import sys
from pathlib import Path

import pytest

from console.app import main
from console.backends import check_backends
from console.settings import settings_from
from db.audit import item_evidence
from db.items import run_ids, run_items
from deepsound.identity import ModelIdentity
from deepsound.licences import known_terms, restrictions, terms_of
from deepsound.models import known_model
from deepsound.pipeline import Step
from tasks.intake import collect
from tasks.perform import LAST_TRY, perform
from tasks.place import Place
from tasks.run import begin_run, load_jobs, unfinished_items
from tasks.worker import worker_at
from tests.footage import silent_clip


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True), ("MIT OR Apache-2.0", True), ("CC-BY-NC-4.0", False), ("CC-BY-NC-SA-4.0", False),
        ("CC-BY-NC-4.0 OR Apache-2.0", True), ("unstated", None), ("LicenseRef-ours", None), ("", None),
    ],
)  # fmt: skip
def test_what_a_third_partys_licence_allows_is_read_from_its_name(licence: str, allowed: bool | None):
    assert terms_of(ModelIdentity("theirs", "1", licence)).commercial_use is allowed


def test_known_weights_have_the_terms_of_the_catalogue_and_those_of_all_they_need():
    clip = known_model("dfn5b-clip-vit-h-14-378")
    assert terms_of(ModelIdentity(clip.name, "1", clip.licence)).commercial_use is False
    assert {"synchformer", clip.name, "mmaudio-vae-44k"} < {
        terms.name for terms in known_terms("mmaudio-large-44k")
    }
    assert known_terms("foley") == ()


def test_each_restricting_licence_is_said_once():
    said = list(restrictions([*known_terms("mmaudio-small-44k"), *known_terms("bs-roformer")]))
    assert [line.partition(" (")[0] for line in said] == [
        "licence CC-BY-NC-4.0: no commercial use",
        "licence LicenseRef-apple-amlr: no commercial use",
        "licence unstated: ask its authors before using it",
    ]
    assert not any("bigvgan-v2" in line for line in said), "it is MIT"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty place to work at, and no models but the embedded ones."""
    place = Place(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", str(tmp_path / "store"))
    for name, value in {"DB": place.db, "STORE": place.store, "MODELS": str(tmp_path / "models")}.items():
        monkeypatch.setenv(f"DEEPSOUND_{name}", value)
    monkeypatch.chdir(tmp_path)
    return place


@pytest.mark.parametrize(
    ("flags", "told", "instead"),
    [
        (("--generator", "mmaudio-small-16k"), "mmaudio-small-16k (CC-BY-NC-4.0) forbids", "--generator foley"),
        (("--separator", "bs-roformer"), "bs-roformer (unstated) does not state", "--separator mix-minus"),
        (("--reasoner", "videollama2-cot"), "videollama2-cot (unstated) does not state", "--reasoner evidence"),
    ],
    ids=["forbids", "separator", "reasoner"],
)
def test_commercial_refuses_before_anything_is_registered(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    flags: tuple[str, str], told: str, instead: str,
):  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["deepsound", "dub", "reel.mp4", "--licence", "commercial", *flags])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert told in line
    assert f"choose {instead}" in line
    assert list(tmp_path.iterdir()) == []


def test_the_policy_comes_from_the_settings_and_the_embedded_backends_pass(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("DEEPSOUND_LICENCE", "commercial")
    check_backends(settings_from())
    check_backends(settings_from(generator="soundtrack"))
    assert capsys.readouterr().err == ""


BORROWED = """
import numpy as np

from deepsound.generation.protocol import Generated
from deepsound.identity import ModelIdentity
from deepsound.media.audio import write_float_wav


class Borrowed:
    name, version, regenerates_with = "borrowed", "1", None
    models = (ModelIdentity("borrowed-weights", "2", "CC-BY-NC-4.0", {"weights.pth": "0" * 64}),)

    def observers(self):
        return ()

    def generate(self, request, target):
        samples = round(request.footage.info.duration * 16_000)
        write_float_wav(target, 16_000, 1, [np.full((samples, 1), 0.1, np.float32)])
        return Generated(16_000, 1, samples, {})
"""


@pytest.fixture
def borrowed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """A generator out of another package, on weights that may not be used commercially."""
    site = tmp_path_factory.mktemp("site-packages")
    (site / "borrowed.py").write_text(BORROWED)
    (site / "borrowed-1.0.dist-info").mkdir()
    (site / "borrowed-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: borrowed\nVersion: 1.0\n"
    )
    points = "[deepsound.generators]\nborrowed = borrowed:Borrowed\n"
    (site / "borrowed-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(site))
    return "borrowed"


def test_a_restricting_licence_is_said_before_use_and_stands_in_the_ledger(
    place: Place, borrowed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = settings_from(generator=borrowed, fallback="rm", out=str(tmp_path / "out"))
    check_backends(settings)
    assert capsys.readouterr().err.splitlines() == ["licence CC-BY-NC-4.0: no commercial use (borrowed-weights)"]

    worker = worker_at(place)
    clip = silent_clip(tmp_path / "reel.mp4", seconds=0.5)
    run, _ = begin_run(worker, settings.for_run(), collect([clip], settings.out_place).sources, lambda _: None)
    [job] = load_jobs(worker, run, unfinished_items(worker, run))
    while (action := job.next_action()) is not None and action.step in (Step.PLAN, Step.GENERATE):
        perform(job, action, LAST_TRY)
    with worker.ledger.read() as session:
        [item] = item_evidence(session, [item.id for run in run_ids(session) for item in run_items(session, run)])
        [generated] = [attempt for attempt in item.attempts if attempt.step == Step.GENERATE]
        [used] = generated.models
        assert (used.model.name, used.model.licence) == ("borrowed-weights", "CC-BY-NC-4.0")
