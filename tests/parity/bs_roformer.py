"""BS-RoFormer: the network on a wave, and the chunked separation of waves of several lengths."""

import re
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepsound.separation.bs_roformer.chunked_separation import Chunking, voice_blocks
from deepsound.separation.bs_roformer.config import EP_317, SAMPLE_RATE, BSRoformerConfig
from deepsound.separation.bs_roformer.network import BSRoformer
from tests.parity.filling import fill, floating_shapes, rand
from tests.parity.golden import Comparison, Golden, compare, compare_digest

TINY = BSRoformerConfig(dim=64, depth=2, heads=2, head_dim=32)
FULL_SAMPLES = 88_200
CHUNK = 22_050

_FREQS = "rotary_embed.freqs"


def check(golden: Golden) -> Iterator[Comparison]:
    """`bs_roformer_tiny`, `bs_roformer_tiny_demix` and `bs_roformer_full_2s`."""
    network, digest = filled(TINY if "tiny" in golden.name else EP_317)
    # The demix file was made by the same tiny network and holds waves alone.
    if "weights_sha256" in golden.metadata:
        yield compare_digest(digest, golden)
    for name, expected in golden.tensors.items():
        if name != "x":
            yield compare(name, _ours(network, name, golden), expected)


def filled(config: BSRoformerConfig) -> tuple[BSRoformer, str]:
    """The network with weights by rule R1 and rotary frequencies as built, and the hash of the weights."""
    network = BSRoformer(config).eval().requires_grad_(False)
    weights = fill(floating_shapes(network.state_dict()), skip=[_FREQS])
    network.load_state_dict(weights.tensors, strict=False, assign=True)
    return network, weights.digest


def wave(samples: int) -> Tensor:
    """Two tones and noise on either channel, (2, samples) at 44.1 kHz."""
    time = np.arange(samples) / SAMPLE_RATE
    left = 0.3 * np.sin(2 * np.pi * 220 * time) + 0.2 * np.sin(2 * np.pi * 1700 * time)
    right = 0.3 * np.sin(2 * np.pi * 330 * time) + 0.1 * np.sin(2 * np.pi * 5000 * time)
    tones = torch.from_numpy(np.stack([left, right]).astype(np.float32))
    return tones + 0.05 * rand("bsr/wave", (2, samples))


def demixed(network: BSRoformer, mix: NDArray[np.float32], chunking: Chunking) -> Tensor:
    """The voice in `mix` (2, n), chunk by chunk."""

    def estimate(chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([network(torch.from_numpy(chunk[None])).numpy() for chunk in chunks])

    length = mix.shape[1]
    blocks = voice_blocks(lambda a, b: mix[:, a:b], length, [(0, length)], estimate, chunking)
    return torch.from_numpy(np.concatenate(list(blocks), axis=1))


def _ours(network: BSRoformer, name: str, golden: Golden) -> Tensor:
    if name.endswith("freqs"):
        # Named after the two axes' first attention, with _ for the dots: 0 is time, 1 is bands.
        axis = int(name.split("_")[2])
        return network.state_dict()[f"layers.0.{axis}.layers.0.0.{_FREQS}"]
    if chunked := re.fullmatch(r"L(\d+)(?:_bs(\d+))?", name):
        samples, group = int(chunked[1]), int(chunked[2] or 4)
        return demixed(network, wave(samples).numpy(), Chunking(CHUNK, CHUNK // 2, group))
    mix = golden.tensors.get("x", wave(FULL_SAMPLES)[None])
    if name == "y_batch":
        mix = torch.cat([mix, mix.flip(-1)])
    elif name != "y":
        raise LookupError(f"no recipe for {name}")
    return network(mix)
