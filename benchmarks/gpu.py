"""Rates on a GPU: clips a second in batches, compiled, and the real-time factor of the largest variant."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.synthetic_checkpoints import networks, sizes_of
from deepsound.generation.mmaudio.flow import Conditions, FlowNetwork
from deepsound.generation.mmaudio.flow_matching import GUIDANCE, draw_noise, euler, guided_flow, unnormalise
from deepsound.generation.mmaudio.networks import Networks
from deepsound.generation.mmaudio.sequence_config import lengths_for

BATCHES = (1, 8)
LARGEST = "large-44k-v2"
SECONDS = 8.0
_REPEATS = 3


@torch.inference_mode()
def rates(weights: Path) -> Mapping[str, float | str]:
    """Sampling, decoding and vocoding of eight-second clips; features are taken as given."""
    figures: dict[str, float | str] = {"device": torch.cuda.get_device_name()}
    for variant in ("small-44k", LARGEST):
        loaded = networks(weights, variant, "bfloat16", "cuda")
        loaded.flow.compile()
        one, many = (batch / _seconds(_sounding(loaded, variant, batch)) for batch in BATCHES)
        figures |= {f"{variant}, clips a second, batch 1": one, f"{variant}, clips a second, batch 8": many}
        figures |= {f"{variant}, batch 8 over 1": many / one, f"{variant}, real-time factor": many * SECONDS}
    figures["peak GB"] = torch.cuda.max_memory_allocated() / 2**30
    return figures


def _sounding(loaded: Networks, variant: str, batch: int) -> Callable[[], Tensor]:
    flow, vae, vocoder = loaded.flow, loaded.vae, loaded.vocoder
    noise, both = _inputs(flow, variant, batch)

    def sounds() -> Tensor:
        latents = unnormalise(flow, euler(noise, lambda x, now: guided_flow(flow, x, now, both, GUIDANCE)))
        return torch.cat(list(vocoder.in_pieces(vae.decode(latents.transpose(1, 2)))), dim=-1)

    return sounds


def _inputs(flow: FlowNetwork, variant: str, batch: int) -> tuple[Tensor, Conditions]:
    lengths, like = lengths_for(SECONDS, sizes_of(variant).audio), flow.empty_clip_feat
    config = flow.config
    clip = torch.randn(batch, lengths.clip, config.clip_dim).to(like) / config.clip_dim**0.5
    sync = torch.randn(batch, lengths.sync, config.sync_dim).to(like)
    text = flow.empty_text(batch)
    wanted = flow.conditions(clip, sync, text, lengths.latent)
    empty = flow.empty_conditions(lengths.clip, lengths.sync, text, lengths.latent)
    noise = draw_noise(range(batch), lengths.latent, config.latent_dim)
    return noise.to(like.device), wanted.joined(empty)


def _seconds(work: Callable[[], object]) -> float:
    """The best of some runs, after one that compiles."""
    work()
    took: list[float] = []
    for _ in range(_REPEATS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return min(took)
