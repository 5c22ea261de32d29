"""The filter bank on a padded wave, and its rounding to bfloat16."""

from collections.abc import Iterator

from torch.nn import functional

from deepsound.reasoning.videollama2.fbank import fbank
from tests.parity.golden import Comparison, Golden, compare

_PADDED = 480_000
_EVERY = 10


def check(golden: Golden) -> Iterator[Comparison]:
    """`fbank`: every tenth row of the first thousand."""
    wave, expected = golden.tensors["wave"], golden.tensors["fbank"]
    rows = fbank(functional.pad(wave, (0, _PADDED - len(wave))))[::_EVERY][: len(expected)]
    yield compare("fbank", rows, expected)
    yield compare("fbank_bf16", rows.bfloat16(), golden.tensors["fbank_bf16"])
