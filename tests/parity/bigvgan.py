"""Checks the vocoders on 32 mel frames, from the published layout with its weight norm."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from deepsound.generation.mmaudio.bigvgan import (
    BIGVGAN_16K,
    BIGVGAN_44K,
    BigVGAN,
    fold_weight_norm,
)
from deepsound.models.checkpoints import load_strict
from tests.parity.filling import fill, floating_shapes, rand
from tests.parity.golden import Comparison, Golden, compare, compare_digest

_GAIN, _DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"
_OVERRIDES = (("original0", 0.5, 0.05), ("original1", 0.0, 1.0))
_FRAMES = 32
_ABSOLUTE_TOLERANCE = 1e-6


def check(golden: Golden) -> Iterator[Comparison]:
    """`bigvgan_16k` and `bigvgan_v2_44k`; the sound is quiet, so its largest difference is bounded as well."""
    config = BIGVGAN_16K if golden.name == "bigvgan_16k" else BIGVGAN_44K
    with torch.device("meta"):
        generator = BigVGAN(config).eval()
    filled = fill(_published_shapes(generator), _OVERRIDES)
    yield compare_digest(filled.digest, golden)
    folded = fold_weight_norm(filled.tensors)
    filled.tensors.clear()
    load_strict(generator, folded, network=golden.name, where=Path(golden.name))
    mel = rand(f"{golden.name}/mel", (1, config.mel_bands, _FRAMES))
    sound = generator(mel)
    for name, value in golden.tensors.items():
        comparison = compare(name, sound, value)
        near = comparison.max_difference <= _ABSOLUTE_TOLERANCE
        yield replace(comparison, passed=comparison.passed and near)


def _published_shapes(generator: BigVGAN) -> dict[str, tuple[int, ...]]:
    """Each weight as gain and direction: (out, 1, 1) and the weight's own shape."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in floating_shapes(generator.state_dict()).items():
        if name.endswith(".weight"):
            stem = name.removesuffix("weight")
            shapes |= {stem + _GAIN: (shape[0], 1, 1), stem + _DIRECTION: shape}
        else:
            shapes[name] = shape
    return shapes
