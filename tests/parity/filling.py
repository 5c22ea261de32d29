"""Rule R1: weights and inputs made from names alone, so that no weights need storing.

The values of a tensor come from NumPy's legacy generator, whose stream NEP 19 froze, seeded with the CRC-32
of the tensor's name plus a seed. They are scaled so that signals keep their size through a network.
"""

import hashlib
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

WEIGHT_SEED = 1
INPUT_SEED = 7
_MODULUS = 2**32
_OFFSETS = ("bias", "beta", "alpha")

Shapes = Mapping[str, Sequence[int]]
Overrides = Sequence[tuple[str, float, float]]
"""(pattern searched for in the name, mean, standard deviation); the last that matches wins."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Weights by name, and the SHA-256 over their names and bytes in order of name."""

    tensors: dict[str, Tensor]
    digest: str


def rand(name: str, shape: Sequence[int], seed: int = INPUT_SEED, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """The float32 tensor that belongs to `name`."""
    generator = np.random.RandomState((zlib.crc32(name.encode()) + seed) % _MODULUS)
    values = generator.standard_normal(math.prod(shape))
    values *= std
    values += mean
    return torch.from_numpy(values.astype(np.float32)).reshape(tuple(shape))


def fill(
    shapes: Shapes,
    overrides: Overrides = (),
    skip: Iterable[str] = (),
    prefix: str = "",
    seed: int = WEIGHT_SEED,
) -> Filled:
    """Make the weights named in `shapes`; names that match a pattern of `skip` are left out.

    `prefix` stands before each name while its values and the hash are made, not in the result.
    """
    tensors: dict[str, Tensor] = {}
    digest = hashlib.sha256()
    skipped = tuple(skip)
    for name in sorted(shapes):
        full = prefix + name
        if any(re.search(pattern, full) for pattern in skipped):
            continue
        mean, std = _moments(full, shapes[name], overrides)
        tensors[name] = rand(full, shapes[name], seed, mean, std)
        digest.update(full.encode())
        digest.update(tensors[name].numpy())
    return Filled(tensors, digest.hexdigest())


def floating_shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the floating-point entries of a state dict, which may be on the meta device."""
    return {name: tuple(value.shape) for name, value in state.items() if value.is_floating_point()}


def _moments(name: str, shape: Sequence[int], overrides: Overrides) -> tuple[float, float]:
    mean, std = _scale(name, shape)
    for pattern, override_mean, override_std in overrides:
        if re.search(pattern, name):
            mean, std = override_mean, override_std
    return mean, std


def _scale(name: str, shape: Sequence[int]) -> tuple[float, float]:
    if len(shape) >= 2:
        fan_in = math.prod(shape) / shape[0]
        return 0.0, 1.0 / math.sqrt(fan_in)
    last = name.rsplit(".", 1)[-1]
    if last in _OFFSETS or last.endswith("_bias"):
        return 0.0, 0.1
    return 1.0, 0.1
