"""Pulling models: what is here stays, the rest comes from its publisher, all of it or nothing."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.models.catalogue import KnownFile, KnownModel
from deepsound.models.local import find_file, known_model
from deepsound.models.pull import pull_file
from tests.archive_setup import DEEPSOUND
from tests.weights_publisher import Publisher, publishing

WEIGHTS = np.random.default_rng(2).bytes(50_000)
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as opened:
        yield opened


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPSOUND_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def pull(model: KnownModel) -> bool:
    return pull_file(model, model.files[0], lambda *_: None)


@pytest.fixture
def released(publisher: Publisher) -> KnownModel:
    """A model published as a file of a release."""
    publisher.files["/owner/repository/releases/download/all-models/voices.ckpt"] = WEIGHTS
    source = f"{publisher.url}/owner/repository/releases/tag/all-models"
    file = KnownFile("voices.ckpt", len(WEIGHTS), SHA256)
    return KnownModel("voices", "tests", (file,), source, "unstated", None)


def test_what_is_missing_is_fetched_and_what_is_here_is_not_asked_for(publisher: Publisher, released: KnownModel):
    assert pull(released)
    assert find_file(released, released.files[0]).read_bytes() == WEIGHTS
    publisher.asked.clear()
    assert not pull(released)
    assert publisher.asked == []


@pytest.mark.parametrize("damaged", [WEIGHTS[:-1], WEIGHTS[:-1] + b"x"], ids=["cut short", "other bytes"])
def test_a_damaged_file_is_replaced(folder: Path, released: KnownModel, damaged: bytes):
    folder.mkdir()
    (folder / "voices.ckpt").write_bytes(damaged)
    assert pull(released)
    assert (folder / "voices.ckpt").read_bytes() == WEIGHTS


def test_what_ships_in_a_package_is_left_to_pip():
    assert not pull(known_model("silero-vad-16k"))
    lost = KnownModel("lost", "tests", (KnownFile("silero_vad/lost.onnx"),), "", "MIT", True, "silero-vad")
    with pytest.raises(DeepSoundError, match="pip install") as caught:
        pull(lost)
    assert caught.value.code is ErrorCode.MODEL_MISSING


RELEASE = {
    "README.md": b"read me",
    "modeling.py": b"print('never run')",
    "config.json": b"{}",
    "model.safetensors.index.json": b"{}",
    "model-00001-of-00001.safetensors": WEIGHTS,
    "pytorch_model.bin": b"the same once more",
    "../outside.json": b"{}",
    "vocab.json": b"{}",
}


def command(publisher: Publisher, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command of a user who set HF_ENDPOINT, which Hugging Face's library reads when it is imported."""
    environment = os.environ | {"HF_ENDPOINT": publisher.url, "HF_TOKEN": "secret"} | more
    typed = [DEEPSOUND, "models", *arguments]
    return subprocess.run(typed, env=environment, capture_output=True, text=True, timeout=60, check=False)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def complaints(pulled: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in pulled.stderr.splitlines() if line.startswith("error:")]


def test_what_is_not_official_is_named_and_a_release_is_here_only_when_all_of_it_came(
    publisher: Publisher, folder: Path
):
    """A shard is missing at first. The flow's file pretends to be the official one, the vocoder's does not."""
    flow, vocoder = known_model("mmaudio-small-16k").files[0], known_model("mmaudio-vocoder-16k").files[0]
    networks = {"weights/mmaudio_small_16k.pth": WEIGHTS, "ext_weights/best_netG.pt": b""}
    publisher.release("hkchengrex/MMAudio", networks)
    publisher.etags["/hkchengrex/MMAudio/resolve/main/weights/mmaudio_small_16k.pth"] = str(flow.sha256)
    publisher.release("lym0302/VideoLLaMA2.1-7B-AV-CoT", RELEASE)
    shard = "/lym0302/VideoLLaMA2.1-7B-AV-CoT/resolve/main/model-00001-of-00001.safetensors"
    del publisher.files[shard]

    first = command(publisher, "pull", "videollama2-cot", "mmaudio-small-16k")
    lacks, *others = complaints(first)
    assert first.returncode == 1
    assert f"{folder}/VideoLLaMA2.1-7B-AV-CoT/model-00001-of-00001.safetensors: " in lacks
    assert "the bytes that came are not those" in next(line for line in others if flow.path in line)
    assert "its publisher now offers another file" in next(line for line in others if vocoder.path in line)
    assert len(others) == 6, "one line for each file of the five models it is made of"
    assert first.stderr.count("licence CC-BY-NC-4.0: no commercial use") == 1
    assert first.stderr.count("licence unstated: ask its authors before using it") == 1
    assert not any(name.endswith(("config.json", ".pth", ".pt")) for name in names(folder))

    publisher.files[shard] = WEIGHTS
    second = command(publisher, "pull", "videollama2-cot")
    assert second.returncode == 0, second.stderr
    come = {"config.json", "model.safetensors.index.json", "model-00001-of-00001.safetensors", "vocab.json"}
    assert names(folder) == {f"VideoLLaMA2.1-7B-AV-CoT/{name}" for name in come}
    signed_in = {headers.get("authorization") for _, asked, _, headers in publisher.asked if "/resolve/" in asked}
    assert signed_in == {"Bearer secret"}


def test_offline_every_line_says_what_to_put_where(publisher: Publisher, folder: Path):
    pulled = command(publisher, "pull", "dfn5b-clip-vit-h-14-378", HF_HUB_OFFLINE="1")
    assert pulled.returncode == 1
    for file, line in zip(known_model("dfn5b-clip-vit-h-14-378").files, complaints(pulled), strict=True):
        assert str(folder / file.path) in line
        assert f"put it there yourself, from {publisher.url}/apple/DFN5B-CLIP-ViT-H-14-378" in line
    assert publisher.asked == []
