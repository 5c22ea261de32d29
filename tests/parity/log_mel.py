"""Sound to log mel spectrograms, as the autoencoders were trained on. The product only decodes mel."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from deepsound.generation.mmaudio.sequence_config import AUDIO_16K, AUDIO_44K, MelFormat

_POWER_FLOOR = 1e-9
_MEL_FLOOR = 1e-5


@dataclass(frozen=True, slots=True)
class MelConfig:
    """Sound format, FFT size, highest frequency in Hz, and whether the logarithm is decimal."""

    audio: MelFormat
    fft: int
    highest: float
    decimal: bool


MEL_16K = MelConfig(AUDIO_16K, fft=1024, highest=8_000.0, decimal=True)
MEL_44K = MelConfig(AUDIO_44K, fft=2048, highest=22_050.0, decimal=False)


def filter_bank(config: MelConfig) -> Tensor:
    """Triangular filters of Slaney's mel scale, each of unit area: (mel_bands, fft / 2 + 1)."""
    bank = mel_filter_bank(
        num_frequency_bins=config.fft // 2 + 1,
        num_mel_filters=config.audio.mel_bands,
        min_frequency=0.0,
        max_frequency=config.highest,
        sampling_rate=config.audio.sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(bank.T).float()


def log_mel(wave: Tensor, config: MelConfig) -> Tensor:
    """Sound (batch, samples) in [-1, 1] to (batch, mel_bands, frames); frames are samples // hop."""
    margin = (config.fft - config.audio.hop) // 2
    padded = F.pad(wave.unsqueeze(1), (margin, margin), mode="reflect").squeeze(1)
    spectrum = torch.stft(
        padded,
        config.fft,
        hop_length=config.audio.hop,
        window=torch.hann_window(config.fft),
        center=False,
        return_complex=True,
    )
    magnitude = (spectrum.abs().square() + _POWER_FLOOR).sqrt()
    mel = (filter_bank(config) @ magnitude).clamp(min=_MEL_FLOOR)
    return mel.log10() if config.decimal else mel.log()
