"""The one configuration that is released, and the rule its bands follow."""

from dataclasses import dataclass

SAMPLE_RATE = 44_100
CHANNELS = 2

BANDS = (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129)
"""Frequency bins of each band, low to high: 62 bands over the 1025 bins of a 2048-point transform."""


@dataclass(frozen=True, slots=True)
class BSRoformerConfig:
    """Sizes of the network. The defaults are `ep_317_sdr_12.9755`.

    `dim`: width of a band's vector; `depth`: pairs of a transformer over time and one over bands;
    `window` and `hop`: samples of the Hann window of the spectrogram, and between two of its frames; `chunk`:
    samples it was trained on.
    """

    dim: int = 512
    depth: int = 12
    heads: int = 8
    head_dim: int = 64
    window: int = 2048
    hop: int = 441
    chunk: int = 8 * SAMPLE_RATE


EP_317 = BSRoformerConfig()
