"""Checks the autoencoders: decoding with and without statistics, a short decoding, and encoding.

`mel_statistics.json` holds the mean and deviation of each mel band over the reference's training set, which
rule R1 leaves as they are.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from deepsound.generation.mmaudio.vae import VAE_16K, VAE_44K, VAEConfig, normalised_weights
from deepsound.models.checkpoints import load_strict
from tests.parity.filling import fill, floating_shapes, rand
from tests.parity.golden import Comparison, Golden, compare, compare_digest
from tests.parity.vae_encoder import VAEWithEncoder

_OVERRIDES = ((r"\.weight$", 0.0, 1.0), ("learnable_gain", 0.1, 0.0))
_STATISTICS = ("data_mean", "data_std")
_SHORT = 16
_MEL_FRAMES = 64
# Latents of eight seconds, where the file doesn't say.
_LATENTS = {"vae_16k": 250, "vae_44k": 345}


def check(golden: Golden) -> Iterator[Comparison]:
    """`vae_16k` and `vae_44k`."""
    config = VAE_16K if golden.name == "vae_16k" else VAE_44K
    with torch.device("meta"):
        vae = VAEWithEncoder(config).eval()
    filled = fill(floating_shapes(vae.state_dict()), _OVERRIDES, skip=_STATISTICS)
    yield compare_digest(filled.digest, golden)
    weights = normalised_weights(filled.tensors) | _statistics(config)
    filled.tensors.clear()
    load_strict(vae, weights, network=golden.name, where=Path(golden.name))
    values = _values(vae, *_inputs(golden, config))
    for name, value in golden.tensors.items():
        yield compare(name, values[name], value)


def _inputs(golden: Golden, config: VAEConfig) -> tuple[Tensor, Tensor]:
    short = golden.name.replace("_", "")
    named = dict.fromkeys(re.findall(r"rand\('([^']+)'", golden.metadata.get("input", "")))
    latents_name = next((name for name in named if name.endswith("/z")), f"{short}/z")
    mel_name = next((name for name in named if name.endswith("/mel")), f"{short}/mel")
    decoded, encoded = golden.tensors.get("decode"), golden.tensors.get("enc_mean")
    latents = _LATENTS[golden.name] if decoded is None else decoded.shape[-1] // 2
    frames = _MEL_FRAMES if encoded is None else 2 * encoded.shape[-1]
    z = rand(latents_name, (1, config.latent_dim, latents))
    return z, rand(mel_name, (1, config.mel_bands, frames)) * 2 - 4


def _values(vae: VAEWithEncoder, z: Tensor, mel: Tensor) -> dict[str, Tensor]:
    mean, log_variance = vae.encode(mel)
    return {
        "decode": vae.decode(z),
        "decode_nonorm": vae.decoder(z),
        "z_small": vae.decode(z[:, :, :_SHORT]),
        "enc_mean": mean,
        "enc_logvar": log_variance,
    }


def _statistics(config: VAEConfig) -> dict[str, Tensor]:
    text = Path(__file__).with_name("mel_statistics.json").read_text()
    bands = json.loads(text)[str(config.mel_bands)]
    return {f"data_{kind}": torch.tensor(values).view(1, -1, 1) for kind, values in bands.items()}
