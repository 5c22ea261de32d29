"""BEATs in full size and in miniature, and the first tokens of the audio projector behind it."""

from collections.abc import Iterator

from torch import nn

from deepsound.reasoning.videollama2.beats import Beats, BeatsConfig
from deepsound.reasoning.videollama2.network import audio_projector
from tests.parity.filling import fill, floating_shapes
from tests.parity.golden import Comparison, Golden, compare, compare_digest

TINY = BeatsConfig(
    embed=32, layers=2, dim=48, wide=96, heads=4, position_width=16, position_groups=4, buckets=32, max_distance=64
)
HIDDEN = 3584

_SHARED = r"layers\.[1-9]\d*\.self_attn\.relative_attention_bias"
_OVERRIDES = (
    ("relative_attention_bias", 0.0, 0.5),
    ("grep_a", 1.0, 0.1),
    ("weight_g", 1.0, 0.1),
    ("weight_v", 0.0, 1.0),
)
_PROJECTOR = "mm_projector_a."


def check(golden: Golden) -> Iterator[Comparison]:
    """`beats` and `beats_tiny`."""
    config = TINY if golden.name.endswith("tiny") else BeatsConfig()
    network = Beats(config).eval()
    yield compare_digest(_fill(network), golden)
    heard = network(golden.tensors["x"])
    yield compare("y", heard, golden.tensors["y"])
    if "proj" in golden.tensors:
        projector = audio_projector("mlp2x_gelu", config.dim, HIDDEN).eval()
        yield compare_digest(_fill(projector, prefix=_PROJECTOR), golden, "proj_sha256")
        expected = golden.tensors["proj"]
        yield compare("proj", projector(heard[:, : expected.shape[1]]), expected)


def _fill(network: nn.Module, prefix: str = "") -> str:
    # The table that all layers share is filled under the first layer's name.
    filled = fill(floating_shapes(network.state_dict()), _OVERRIDES, skip=[_SHARED], prefix=prefix)
    network.load_state_dict(filled.tensors, strict=False)
    return filled.digest
