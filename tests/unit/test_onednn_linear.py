"""Linear layers by oneDNN: the numbers of PyTorch's own, in either layout, and gradients where they are wanted."""

import pytest
import torch

from deepsound.models.onednn_linear import Linear, gains_from_onednn


@pytest.fixture
def layer() -> Linear:
    torch.manual_seed(0)
    return Linear(48, 80)


@pytest.mark.parametrize("shape", [(48,), (1, 48), (300, 48), (2, 5, 48), (3, 0, 48)])
def test_products_are_those_of_a_plain_layer(layer: Linear, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))


def test_rows_that_do_not_lie_side_by_side_are_taken_as_they_are(layer: Linear) -> None:
    x = torch.randn(48, 7).T
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), layer(x.contiguous()))


def test_a_tensor_in_onednns_layout_stays_in_it(layer: Linear) -> None:
    x = torch.randn(300, 48)
    with torch.inference_mode():
        made = layer(x.to_mkldnn())
        assert made.is_mkldnn
        torch.testing.assert_close(made.to_dense(), layer(x))


def test_only_float32_without_gradients_gains(layer: Linear) -> None:
    x = torch.randn(3, 48)
    assert not gains_from_onednn(x), "a gradient may be wanted"
    with torch.inference_mode():
        assert gains_from_onednn(x)
        assert not gains_from_onednn(x.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            assert not gains_from_onednn(x)
            assert layer(x).dtype == torch.bfloat16


def test_gradients_reach_the_weights(layer: Linear) -> None:
    layer(torch.randn(3, 48)).sum().backward()
    assert layer.weight.grad is not None
