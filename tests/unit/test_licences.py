"""Licences: what weights allow is said before they are used; `commercial` refuses those that do not allow it."""

import sys
from pathlib import Path

import pytest

from console.cli.app import main
from console.cli.backend_checks import check_backends, check_licences
from console.cli.settings import settings_from
from db.read.evidence import item_evidence
from db.read.items import run_ids, run_items
from deepsound.errors import DeepSoundError
from deepsound.models.identity import ModelIdentity
from deepsound.models.licences import known_terms, restrictions, terms_of
from deepsound.models.local import known_model
from deepsound.pipeline import Step
from deepsound.storage.location import location
from tasks.operations.item_loading import load_items
from tasks.operations.manifest import collect
from tasks.operations.run_activity import unfinished_items
from tasks.operations.run_registration import begin_run
from tasks.operations.submission import Submission, submit, take_stock
from tasks.runtime.item import Item
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import open_worker
from tasks.steps.recording import LAST_TRY
from tasks.steps.runner import reuse_step, run_step
from tests.third_party_backends import install_plugin
from tests.voiced_clips import silent_clip


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
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreUrls:
    """An empty place to work at, and no models but the embedded ones."""
    place = StoreUrls(db=f"sqlite:///{tmp_path / 'ledger.sqlite3'}", store=str(tmp_path / "store"))
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
    place: StoreUrls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
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
    place: StoreUrls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("DEEPSOUND_LICENCE", "commercial")
    check_backends(settings_from().run)
    check_backends(settings_from(generator="soundtrack").run)
    assert capsys.readouterr().err == ""


BORROWED = """
import numpy as np

from deepsound.generation.protocol import GenerationResult
from deepsound.models.identity import ModelIdentity
from deepsound.media.audio import write_float_wav


class Borrowed:
    name, version, regenerates_with = "borrowed", "1", None
    models = (ModelIdentity("borrowed-weights", "2", "CC-BY-NC-4.0", {"weights.pth": "0" * 64}),)

    def observers(self):
        return ()

    def generate(self, request, target):
        samples = round(request.footage.info.duration * 16_000)
        write_float_wav(target, 16_000, 1, [np.full((samples, 1), 0.1, np.float32)])
        return GenerationResult(16_000, 1, samples, {})
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
    place: StoreUrls, borrowed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = settings_from(generator=borrowed, fallback="rm", out=str(tmp_path / "out"))
    check_backends(settings.run)
    assert capsys.readouterr().err.splitlines() == ["licence CC-BY-NC-4.0: no commercial use (borrowed-weights)"]

    worker = open_worker(place)
    clip = silent_clip(tmp_path / "reel.mp4", seconds=0.5)
    run, _ = begin_run(worker, settings.run, collect([location(clip)], settings.run.out).sources, lambda _: None)
    [loaded] = load_items(worker, run, unfinished_items(worker, run))
    while (action := loaded.next_action()) is not None and action.step in (Step.PLAN, Step.GENERATE):
        loaded = run_step(worker, loaded, action, LAST_TRY)
    with worker.ledger.read() as session:
        [item] = item_evidence(session, [item.id for run in run_ids(session) for item in run_items(session, run)])
        [generated] = [attempt for attempt in item.attempts if attempt.step == Step.GENERATE]
        [used] = generated.models
        assert (used.model.name, used.model.licence) == ("borrowed-weights", "CC-BY-NC-4.0")


def a_list(folder: Path, *generators: str) -> Path:
    """A list of videos, each with the generator that its row asks for."""
    rows = "".join(f"{index}.mp4,{generator}\n" for index, generator in enumerate(generators))
    (folder / "list.csv").write_text(f"source,generator\n{rows}", encoding="utf-8")
    return folder / "list.csv"


@pytest.mark.parametrize("command", [("dub",), ("run", "submit")], ids=["dub", "submit"])
@pytest.mark.parametrize(
    ("generator", "told"),
    [
        (
            "mmaudio-small-16k",
            "list.csv, line 3: --licence commercial: generator mmaudio-small-16k: the licence of",
        ),
        ("mmaudoi", "list.csv, line 3: generator 'mmaudoi': not installed; choose one of: "),
    ],
    ids=["licence", "misspelt"],
)
def test_a_generator_that_a_row_asks_for_is_looked_at_before_anything_is_registered(
    place: StoreUrls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...], generator: str, told: str,
):  # fmt: skip
    listed = a_list(tmp_path, "", generator)
    monkeypatch.setattr(sys, "argv", ["deepsound", *command, str(listed), "--licence", "commercial"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert told in line
    assert list(tmp_path.iterdir()) == [listed]


def test_a_standing_order_refuses_what_its_list_asks_for_by_then(place: StoreUrls, tmp_path: Path):
    settings = settings_from(licence="commercial").run
    order = Submission([str(a_list(tmp_path, ""))], settings, None, "cpu", "normal", None)
    assert len(take_stock(order)) == 1
    a_list(tmp_path, "", "mmaudio-large-44k")
    with pytest.raises(DeepSoundError, match=r"list\.csv, line 3: .*forbids commercial use"):
        take_stock(order)


def test_licences_of_generators_that_rows_ask_for_are_said(
    place: StoreUrls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sources = collect([location(a_list(tmp_path, "", "mmaudio-small-44k"))], location(tmp_path / "out")).sources
    check_licences(settings_from().run, sources)
    said = capsys.readouterr().err
    assert "licence CC-BY-NC-4.0: no commercial use (mmaudio-small-44k" in said


def test_the_generator_that_answers_the_fallback_is_asked_for_too(
    place: StoreUrls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    code = "class Plugin:\n    name, version, regenerates_with = 'again', '1', 'mmaudio-small-16k'\n"
    install_plugin(tmp_path / "site", "deepsound.generators", "again", code)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(DeepSoundError, match="generator mmaudio-small-16k: the licence of"):
        check_licences(settings_from(licence="commercial", generator="again").run, ())
    check_licences(settings_from(licence="commercial", generator="again", fallback="rm").run, ())
    check_licences(settings_from(generator="again").run, ())


def test_weights_that_only_a_worker_sees_are_refused_before_the_video_is_looked_at(
    place: StoreUrls, borrowed: str, tmp_path: Path
):
    worker = open_worker(place)
    clip = silent_clip(tmp_path / "reel.mp4", seconds=0.5)
    settings = settings_from(licence="commercial", out=str(tmp_path / "out"))
    (tmp_path / "list.csv").write_text(f"source,generator\n{clip},{borrowed}\n", encoding="utf-8")
    order = Submission([str(tmp_path / "list.csv")], settings.run, None, "cpu", "normal", None)
    run, _ = submit(worker, order, take_stock(order), lambda _: None)
    [item] = load_items(worker, run, unfinished_items(worker, run))
    action = item.next_action()
    assert action is not None
    assert action.step is Step.PLAN
    assert reuse_step(worker, item, action) is None
    with pytest.raises(
        DeepSoundError, match=r"licence of borrowed-weights \(CC-BY-NC-4.0\) forbids commercial use"
    ):
        run_step(worker, item, action, LAST_TRY)


def test_what_was_made_with_refused_weights_is_not_reused(place: StoreUrls, borrowed: str, tmp_path: Path):
    worker = open_worker(place)
    clip = silent_clip(tmp_path / "reel.mp4", seconds=0.5)
    sources = collect([location(clip)], location(tmp_path / "out")).sources

    def item_of(licence: str, *, loudness: str = "ebu-r128") -> Item:
        settings = settings_from(
            generator=borrowed, licence=licence, loudness=loudness, fallback="rm", out=str(tmp_path / "out")
        )
        run, _ = begin_run(worker, settings.run, sources, lambda _: None)
        [item] = load_items(worker, run, unfinished_items(worker, run))
        return item

    first = item_of("any")
    for _ in (Step.PLAN, Step.GENERATE):
        first = run_step(worker, first, first.next_action(), LAST_TRY)
    again = item_of("any", loudness="none")
    for _ in (Step.PLAN, Step.GENERATE):
        again = reuse_step(worker, again, again.next_action())
        assert again
    strict = item_of("commercial")
    assert reuse_step(worker, strict, strict.next_action()) is None
