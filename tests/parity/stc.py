"""The STC connector: every token in miniature; in full size the first and last tokens and the mean."""

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from deepsound.reasoning.videollama2.stc import STCConnector
from tests.parity.filling import fill, floating_shapes, rand
from tests.parity.golden import Comparison, Golden, compare, compare_digest

TINY = (48, 64)
FULL = (1152, 3584)
FULL_INPUT = (1, 8, 729, 1152)

_RAND = re.compile(r"rand\('([^']+)',\(([\d,\s]+)\),(\d+)\)")


def check(golden: Golden) -> Iterator[Comparison]:
    """`stc_v35_tiny` and `stc_v35_full`."""
    with torch.device("meta"):
        connector = STCConnector(*(TINY if golden.name.endswith("tiny") else FULL)).eval()
    filled = fill(floating_shapes(connector.state_dict()))
    connector.load_state_dict(filled.tensors, assign=True)
    yield compare_digest(filled.digest, golden)
    outputs: dict[str, Tensor] = {}
    for name, expected in golden.tensors.items():
        if name.startswith("w.") or name in ("x", "xb"):
            continue
        batch = "xb" if name == "yb" else "x"
        if batch not in outputs:
            outputs[batch] = connector(_input(golden, batch))
        yield compare(name, _part(outputs[batch], name, expected), expected)


def _input(golden: Golden, name: str) -> Tensor:
    """The stored input, else the one its metadata describes, else the one the contract's naming implies."""
    if name in golden.tensors:
        return golden.tensors[name]
    described = _RAND.search(golden.metadata.get("input", ""))
    if described is None:
        return rand("stc_full/x", FULL_INPUT)
    shape = tuple(int(size) for size in described[2].split(",") if size.strip())
    return rand(described[1], shape, int(described[3]))


def _part(tokens: Tensor, name: str, expected: Tensor) -> Tensor:
    """The tokens a golden value holds: all, some at an end, or their mean, in the golden value's shape."""
    if expected.shape == tokens.shape:
        return tokens
    if re.search("mean|avg", name):
        means = (tokens.mean(), tokens.mean(1), tokens.mean((0, 1)), tokens.mean(1, keepdim=True), tokens.mean(2))
        return next((mean for mean in means if mean.shape == expected.shape), means[1])
    count = expected.shape[-2]
    part = tokens[:, -count:] if re.search("last|tail|end", name) else tokens[:, :count]
    return part.reshape(expected.shape)
