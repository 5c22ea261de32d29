"""Tests that are to hold on one thread and on several."""

from collections.abc import Iterator

import pytest


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """As many threads as PyTorch, and what shares rows as it does, works on."""
    import torch  # Here, since most tests need none of it and all load this.

    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
