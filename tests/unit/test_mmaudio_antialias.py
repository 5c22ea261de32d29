"""The vocoder's nonlinearity, compiled for a CPU, is what whole-tensor operations compute on any device."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deepsound.generation.mmaudio.antialiased_snake import snake_twice_as_fine
from tests.parity.filling import rand


def signal(batch: int, channels: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Signals of several periods of the sine, frequencies and amplitudes."""
    return rand("snake/x", (batch, channels, length)) * 5, *(rand("snake/ab", (2, channels)).exp())


# 1024 samples are done at a time; the filters reach six samples to either side.
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 1023, 1024, 1025, 1027, 2050])
def test_what_is_compiled_is_what_is_meant(channels: int, length: int) -> None:
    x, frequency, amplitude = signal(2, channels, length)
    with torch.inference_mode():
        found = snake_twice_as_fine(x, frequency, amplitude)
        meant = snake_twice_as_fine(x.double(), frequency.double(), amplitude.double())
    assert found.dtype == torch.float32
    assert found.shape == x.shape
    assert (found - meant).abs().max() < 1e-5 * meant.abs().max()


@settings(max_examples=50, deadline=None)
@given(batch=st.integers(1, 3), channels=st.integers(1, 40), length=st.integers(1, 200), last=st.booleans())
def test_any_shape_and_layout_is_the_same_signal(batch: int, channels: int, length: int, last: bool) -> None:
    x, frequency, amplitude = signal(batch, channels, length)
    laid_out = x.transpose(1, 2).contiguous().transpose(1, 2) if last else x
    with torch.inference_mode():
        found = snake_twice_as_fine(laid_out, frequency, amplitude)
        alone = torch.cat([snake_twice_as_fine(one, frequency, amplitude) for one in x.split(1)])
        meant = snake_twice_as_fine(x.double(), frequency.double(), amplitude.double())
    assert torch.equal(found, alone), "a signal does not depend on what else is in its batch"
    assert (found - meant).abs().max() < 1e-5 * meant.abs().max()


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_no_number_stays_where_it_is_and_is_not_hidden(broken: float) -> None:
    x, frequency, amplitude = signal(1, 2, 100)
    x[0, 1, 50] = broken
    with torch.inference_mode():
        found = snake_twice_as_fine(x, frequency, amplitude).isfinite()
    assert not found[0, 1, 50]
    assert found[0, 0].all()
    assert found[0, 1, :40].all()
    assert found[0, 1, 61:].all()
