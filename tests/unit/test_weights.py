"""Reading checkpoints: whole, plain tensors under the expected names and shapes, or one line that says why not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.weights import load_strict, read_state


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))


@pytest.fixture(params=["net.pth", "net.safetensors"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    torch.manual_seed(1)
    state = dict(network().state_dict())
    if path.suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    return path


def test_a_network_without_memory_takes_over_the_tensors_of_a_file(file: Path) -> None:
    state = read_state(file)
    with torch.device("meta"):
        empty = network()
    load_strict(empty, state, network="the net", where=file)
    torch.manual_seed(1)
    torch.testing.assert_close(empty(torch.ones(1, 4)), network()(torch.ones(1, 4)))
    assert empty.state_dict()["0.weight"].data_ptr() == state["0.weight"].data_ptr()
    assert not any(parameter.requires_grad for parameter in empty.parameters())


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.9])
def test_a_file_cut_short_is_refused_by_name(file: Path, kept: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DeepSoundError) as caught:
        read_state(file)
    assert caught.value.code is ErrorCode.MODEL_FAILED
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DeepSoundError) as caught:
        read_state(tmp_path / "net.pth")
    assert caught.value.code is ErrorCode.MODEL_MISSING


@pytest.mark.parametrize("held", [[torch.ones(2)], {"step": 7, "w": torch.ones(2)}, torch.ones(2)])
def test_a_checkpoint_of_anything_but_named_tensors_is_refused(tmp_path: Path, held: object) -> None:
    torch.save(held, tmp_path / "net.pth")
    with pytest.raises(DeepSoundError, match="tensor"):
        read_state(tmp_path / "net.pth")


def test_an_object_is_never_unpickled(tmp_path: Path) -> None:
    torch.save({"weights": nn.Linear(1, 1)}, tmp_path / "net.pth")
    with pytest.raises(DeepSoundError, match="not readable as plain tensors"):
        read_state(tmp_path / "net.pth")


def test_tensors_may_lie_under_a_key(tmp_path: Path) -> None:
    torch.save({"generator": {"w": torch.ones(2)}}, tmp_path / "net.pth")
    assert list(read_state(tmp_path / "net.pth", under="generator")) == ["w"]
    with pytest.raises(DeepSoundError, match="under 'model'"):
        read_state(tmp_path / "net.pth", under="model")


def test_every_difference_is_named_and_long_lists_are_cut(tmp_path: Path) -> None:
    state = {"0.weight": torch.ones(3, 5), **{f"other{number}": torch.ones(1) for number in range(5)}}
    with pytest.raises(DeepSoundError) as caught:
        load_strict(network(), state, network="the net", where=tmp_path / "net.pth")
    message = str(caught.value)
    assert "6 tensors are not the 4 of the net" in message
    assert "missing: 0.bias, 1.weight, 1.bias" in message
    assert "not part of it: other0, other1, other2 and 2 more" in message
    assert "of another shape: 0.weight [3, 5] for [3, 4]" in message
