"""Reading checkpoints: whole, plain tensors under the expected names and shapes, or one line that says why not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.models.checkpoints import load_strict, move_to_device, read_state


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


def told_of(path: Path, load: Callable[[], object]) -> str:
    with pytest.raises(DeepSoundError) as caught:
        load()
    assert caught.value.code is ErrorCode.MODEL_FAILED
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (torch.ones(3, 4).to_sparse(), "'0.weight' is no plain tensor (sparse_coo, float32)"),
        (torch.ones(3, 4, device="meta"), "'0.weight' holds no numbers"),
        (torch.ones(3, 4, dtype=torch.complex64), "'0.weight' is no plain tensor (strided, complex64)"),
        (torch.ones(1).expand(3, 4), "'0.weight' has more numbers than the file holds of it"),
    ],
    ids=["sparse", "meta", "complex", "overlapping"],
)
def test_a_tensor_that_no_network_has_is_refused_by_name(tmp_path: Path, weight: torch.Tensor, told: str) -> None:
    path = tmp_path / "net.pth"
    torch.save({"0.weight": weight}, path)
    assert told in told_of(path, lambda: read_state(path))


def test_whole_numbers_in_place_of_weights_are_refused(tmp_path: Path) -> None:
    state = dict(network().state_dict()) | {"1.bias": torch.ones(2, dtype=torch.int8)}
    path = tmp_path / "net.pth"
    told = told_of(path, lambda: load_strict(network(), state, network="the net", where=path))
    assert "of another type: 1.bias int8 for float32" in told


@pytest.fixture(scope="module", params=["net.pth", "net.safetensors"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("damaged") / request.param
    state = dict(network().state_dict())
    if path.suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    return path, path.read_bytes()


@given(st.data())
@settings(max_examples=100)
def test_a_damaged_file_loads_or_is_named(whole: tuple[Path, bytes], data: st.DataObject) -> None:
    path, content = whole
    # Names, shapes and places stand at its beginning or at its end.
    places = st.integers(0, 500) | st.integers(-800, -1) | st.integers(0, len(content) - 1)
    damaged = bytearray(content)
    for at, byte in data.draw(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=6)).items():
        damaged[at % len(content)] = byte
    path.write_bytes(damaged)
    with torch.device("meta"):
        module = network()
    try:
        load_strict(module, read_state(path), network="the net", where=path)
    except DeepSoundError as error:
        failure = error
    else:
        move_to_device(module, torch.device("cpu"), torch.float32)
        return
    assert failure.code is ErrorCode.MODEL_FAILED
    assert str(failure).startswith(str(path))
    assert str(failure).encode()
