"""`deepsound models list` and `check`, as typed."""

import json
import sys
from pathlib import Path

import pytest

from console.cli.app import main
from deepsound.models.local import known_model, known_models


class Typed:
    """The command in this process: exit status and what it printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.folder = Path()

    def __call__(self, *arguments: str) -> tuple[int, str, list[str]]:
        self._monkeypatch.setattr(sys, "argv", ["deepsound", "models", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = self._capsys.readouterr()
        return int(stopped.value.code or 0), printed.out, printed.err.splitlines()

    def states(self, *names: str) -> tuple[int, dict[str, str]]:
        code, out, _ = self("check", "--json", *names)
        return code, {model["name"]: model["state"] for model in json.loads(out)["models"]}


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.setenv("DEEPSOUND_MODELS", str(tmp_path))
    command = Typed(monkeypatch, capsys)
    command.folder = tmp_path
    return command


def put(typed: Typed, file: str, data: bytes = b"x") -> None:
    path = typed.folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_embedded_models_are_whole_and_others_may_be_absent(typed: Typed):
    code, states = typed.states()
    assert code == 0
    assert states == {model.name: "whole" if model.package else "not here" for model in known_models()}


def test_absent_is_a_fault_where_it_was_asked_for(typed: Typed):
    assert typed.states("bs-roformer") == (1, {"bs-roformer": "not here"})
    code, _, [complaint] = typed("check", "bs-roformer")
    assert code == 1
    assert str(typed.folder / known_model("bs-roformer").files[0].path) in complaint


def test_so_is_a_model_of_which_a_part_is_here(typed: Typed):
    put(typed, "DFN5B-CLIP-ViT-H-14-378/tokenizer.json")
    code, states = typed.states()
    assert (code, states["dfn5b-clip-vit-h-14-378"]) == (1, "faulty")


def test_damaged_files_are_named_one_a_line(typed: Typed):
    put(typed, "mmaudio/weights/mmaudio_small_16k.pth")
    put(typed, "mmaudio/weights/mmaudio_large_44k.pth")
    code, _, complaints = typed("check")
    assert code == 1
    small, large = complaints
    assert "mmaudio_small_16k.pth: the bytes are not those of the official file" in small
    assert "mmaudio_large_44k.pth: 1 bytes, where the official file has 4120388840" in large


def test_a_file_without_a_known_hash_is_not_called_whole(typed: Typed):
    put(typed, "mmaudio/weights/mmaudio_small_44k.pth")
    assert typed.states("mmaudio-small-44k") == (0, {"mmaudio-small-44k": "here"})


def test_files_sizes_hashes_and_licences_are_listed(typed: Typed):
    _, out, _ = typed("list", "bs-roformer", "synchformer")
    for model in map(known_model, ("bs-roformer", "synchformer")):
        [file] = model.files
        for told in (model.name, file.path, f"{file.size:,}", str(file.sha256), model.licence):
            assert told in out


def test_an_unknown_name_is_bad_usage(typed: Typed):
    code, _, [complaint] = typed("pull", "mmaudio-huge")
    assert code == 2
    assert complaint.startswith("error: mmaudio-huge: no such model is known")
