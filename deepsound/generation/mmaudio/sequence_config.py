"""The five published MMAudio networks, and how long everything is for a given number of seconds."""

import math
from dataclasses import dataclass

CLIP_RATE = 8.0
"""Frames a second that CLIP sees."""
SYNC_RATE = 25.0
"""Frames a second that Synchformer sees."""
SYNC_SEGMENT = 16
"""Frames in one Synchformer segment."""
SYNC_STRIDE = 8
"""Frames from one segment to the next, and tokens a segment yields."""


@dataclass(frozen=True, slots=True)
class FlowConfig:
    """Sizes of one flow network. `depth` counts joint and fused blocks, `fused` the fused ones.

    `second` is the second release: SiLU in place of SELU, and a timestep embedding of full width.
    """

    latent_dim: int
    hidden: int
    depth: int
    fused: int
    heads: int
    second: bool = False
    clip_dim: int = 1024
    sync_dim: int = 768
    text_dim: int = 1024
    text_length: int = 77


@dataclass(frozen=True, slots=True)
class MelFormat:
    """What the latents stand for: two mel frames of `mel_bands` bands, `hop` samples each, a latent."""

    sample_rate: int
    hop: int
    mel_bands: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """How many latents, CLIP frames and Synchformer tokens a window has."""

    latent: int
    clip: int
    sync: int


AUDIO_16K = MelFormat(sample_rate=16_000, hop=256, mel_bands=80)
AUDIO_44K = MelFormat(sample_rate=44_100, hop=512, mel_bands=128)


@dataclass(frozen=True, slots=True)
class Variant:
    """One published network: its sizes, its sound, and the name of its weight file."""

    flow: FlowConfig
    audio: MelFormat
    weights: str


VARIANTS = {
    "small-16k": Variant(FlowConfig(20, 448, 12, 8, 7), AUDIO_16K, "mmaudio_small_16k.pth"),
    "small-44k": Variant(FlowConfig(40, 448, 12, 8, 7), AUDIO_44K, "mmaudio_small_44k.pth"),
    "medium-44k": Variant(FlowConfig(40, 896, 12, 8, 14), AUDIO_44K, "mmaudio_medium_44k.pth"),
    "large-44k": Variant(FlowConfig(40, 896, 21, 14, 14), AUDIO_44K, "mmaudio_large_44k.pth"),
    "large-44k-v2": Variant(FlowConfig(40, 896, 21, 14, 14, second=True), AUDIO_44K, "mmaudio_large_44k_v2.pth"),
}


def lengths_for(seconds: float, audio: MelFormat) -> Lengths:
    """Lengths of a window of `seconds`, at least one CLIP frame and one Synchformer segment (0.64 s)."""
    segments = math.floor((SYNC_RATE * seconds - SYNC_SEGMENT) / SYNC_STRIDE) + 1
    return Lengths(
        latent=math.ceil(seconds * audio.sample_rate / audio.hop / 2),
        clip=max(int(CLIP_RATE * seconds), 1),
        sync=max(segments, 1) * SYNC_STRIDE,
    )
