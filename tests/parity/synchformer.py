"""Checks Synchformer's visual encoder on two segments."""

from collections.abc import Iterator
from pathlib import Path

import torch

from deepsound.generation.mmaudio.synchformer import Synchformer, SynchformerConfig
from deepsound.models.checkpoints import load_strict
from tests.parity.filling import fill, floating_shapes, rand
from tests.parity.golden import Comparison, Golden, compare, compare_digest

_PREFIX = "vfeat_extractor."
# In the published file, and so in the hash, though nothing uses it.
_UNUSED = {"patch_embed.proj.weight": (768, 3, 16, 16), "patch_embed.proj.bias": (768,)}


def check(golden: Golden) -> Iterator[Comparison]:
    """`y`, and `y_slow`: the same made by the reference without PyTorch's fused encoder layer."""
    with torch.device("meta"):
        encoder = Synchformer(SynchformerConfig()).eval()
    filled = fill(floating_shapes(encoder.state_dict()) | _UNUSED, prefix=_PREFIX)
    yield compare_digest(filled.digest, golden)
    weights = {name: value for name, value in filled.tensors.items() if name not in _UNUSED}
    load_strict(encoder, weights, network=golden.name, where=Path(golden.name))
    segments = rand("synchformer/x", (1, 2, 16, 3, 224, 224)).clamp(-1, 1)
    # One segment at a time: batches are equal and need more memory.
    tokens = torch.stack([encoder(segment) for segment in segments[0].split(1)]).transpose(0, 1)
    for name, value in golden.tensors.items():
        yield compare(name, tokens, value)
