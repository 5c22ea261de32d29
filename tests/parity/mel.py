"""Checks the mel spectrograms: filter bank, the test sound, and its spectrogram."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from tests.parity.filling import rand
from tests.parity.golden import Comparison, Golden, compare
from tests.parity.log_mel import MEL_16K, MEL_44K, MelConfig, filter_bank, log_mel


def check(golden: Golden) -> Iterator[Comparison]:
    """`mel_16k` and `mel_44k`."""
    config = MEL_16K if golden.name == "mel_16k" else MEL_44K
    wave = golden.tensors.get("wave", _wave(golden.name.replace("_", ""), config))
    ours = {"wave": _wave(golden.name.replace("_", ""), config), "mel_basis": filter_bank(config)}
    for name, value in golden.tensors.items():
        yield compare(name, log_mel(wave, config) if name == "mel" else ours[name], value)


def _wave(prefix: str, config: MelConfig) -> Tensor:
    """One second of a tone, a rising tone and noise."""
    rate = config.audio.sample_rate
    time = torch.arange(rate, dtype=torch.float64) / rate
    tones = 0.5 * (2 * math.pi * 440 * time).sin() + 0.3 * (2 * math.pi * 3000 * time**2).sin()
    return tones.float() + 0.05 * rand(f"{prefix}/noise", (1, rate))
