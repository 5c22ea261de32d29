"""Convolutions with fewer products are the convolutions they stand for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from deepsound.generation.mmaudio.bigvgan import BigVGAN, BigVGANConfig, compiled_for_cpu
from deepsound.generation.mmaudio.toom_cook import ToomCookConv1d
from tests.parity.filling import rand


def convolution(inputs: int, outputs: int, kernel: int, dilation: int, *, bias: bool = True) -> nn.Conv1d:
    padding = dilation * (kernel - 1) // 2
    conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding=padding, bias=bias)
    for name, parameter in conv.named_parameters():
        parameter.data = rand(f"toom-cook/{name}", tuple(parameter.shape))
    return conv


def far(conv: nn.Conv1d, x: Tensor) -> float:
    """The largest difference from the same in float64, in terms of the largest output that any such signal has."""
    with torch.inference_mode():
        found = ToomCookConv1d(conv)(x)
        meant = conv.double()(x.double())
        largest = x.abs().max() * conv.weight.abs().sum(dim=(1, 2)).max()
    assert found.dtype == torch.float32
    assert found.shape == meant.shape
    return float((found - meant).abs().max() / largest)


# A tile is four samples, or four of every third or fifth.
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("kernel", [5, 7, 9, 11])
@pytest.mark.parametrize("dilation", [1, 3, 5])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 19, 20, 21, 300])
def test_fewer_products_make_the_same_sums(kernel: int, dilation: int, length: int) -> None:
    assert far(convolution(6, 5, kernel, dilation), rand("toom-cook/x", (2, 6, length))) < 2e-6


@settings(max_examples=100, deadline=None)
@given(
    batch=st.integers(1, 3),
    inputs=st.integers(1, 20),
    outputs=st.integers(1, 20),
    length=st.integers(1, 200),
    bias=st.booleans(),
    last=st.booleans(),
)
def test_any_shape_and_layout(batch: int, inputs: int, outputs: int, length: int, bias: bool, last: bool) -> None:
    x = rand("toom-cook/x", (batch, inputs, length))
    laid_out = x.transpose(1, 2).contiguous().transpose(1, 2) if last else x
    assert far(convolution(inputs, outputs, 7, 3, bias=bias), laid_out) < 2e-6


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_hidden(broken: float) -> None:
    x = rand("toom-cook/x", (1, 4, 200))
    x[0, 1, 100] = broken
    with torch.inference_mode():
        found = ToomCookConv1d(convolution(4, 4, 7, 1))(x).isfinite().all(dim=1)[0]
    assert not found[97:104].any()
    assert found[:90].all()
    assert found[111:].all()


def test_a_vocoder_compiled_for_the_cpu_makes_the_same_sound_with_its_wide_convolutions_replaced() -> None:
    torch.manual_seed(0)
    vocoder = BigVGAN(BigVGANConfig(80, (4, 4), second=False, width=192)).eval()
    mel = rand("toom-cook/mel", (2, 80, 33))
    with torch.inference_mode():
        plain = vocoder(mel)
        compiled = compiled_for_cpu(vocoder)(mel)
    replaced = [each for each in vocoder.modules() if isinstance(each, ToomCookConv1d)]
    assert len(replaced) == 12, "kernels of 7 and 11 taps, six each, of the one stage with 96 channels"
    assert (compiled - plain).abs().max() < 1e-5 * plain.abs().max()
