"""From noise to latents: Euler steps along the flow, with classifier-free guidance in one batch."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from deepsound.generation.mmaudio.flow import Conditions, FlowNetwork

STEPS = 25
GUIDANCE = 4.5


def draw_noise(seeds: Sequence[int], latents: int, latent_dim: int) -> Tensor:
    """Starting points (len(seeds), latents, latent_dim), float32 on the CPU, one generator a request.

    A seed gives the same noise whatever the device, the type of the weights, or the rest of the batch.
    """
    return torch.stack(
        [torch.randn(latents, latent_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


@torch.inference_mode()
def euler(noise: Tensor, flow: Callable[[Tensor, Tensor], Tensor], *, steps: int = STEPS) -> Tensor:
    """Move `noise` (batch, latents, latent_dim) along `flow`, of latents and a time, from t = 0 to 1.

    The position stays in float32, whatever type a network computes its flow in. Normalised latents come out.
    """
    x = noise.float()
    for now, following in pairwise(torch.linspace(0, 1, steps + 1, device=x.device)):
        x = x + (following - now) * flow(x, now)
    return x


def guided_flow(network: FlowNetwork, x: Tensor, now: Tensor, both: Conditions, guidance: float) -> Tensor:
    """Flow of `x` (batch, latents, latent_dim) at time `now`, one for all or (batch,), in float32.

    guidance · v(conditions) + (1 − guidance) · v(empty) (Ho & Salimans 2022); both flows come from one pass over
    twice the batch, and the second is left out where guidance is 1 or less, as the reference does.
    `both`: conditions joined with the empty ones, or conditions alone where guidance is 1 or less.
    """
    times = now.expand(len(x))
    position, times = (torch.cat([x, x]), torch.cat([times, times])) if guidance > 1 else (x, times)
    flow = network(position.to(network.final_layer.conv.weight.dtype), times, both).float()
    return guide(flow, guidance) if guidance > 1 else flow


def guide(flow: Tensor, guidance: float) -> Tensor:
    """Combine the flows of (conditions, empty) stacked along the batch."""
    wanted, unwanted = flow.chunk(2)
    return guidance * wanted + (1 - guidance) * unwanted


def unnormalise(network: FlowNetwork, latents: Tensor) -> Tensor:
    """Latents as the decoder takes them: times the training set's deviation, plus its mean."""
    return latents * network.latent_std.float() + network.latent_mean.float()
