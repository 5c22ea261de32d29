"""Passes through the networks, each over what requests made at the same time need just then.

Requests meet at every step of sampling rather than once: windows of the same length share a pass whatever video
they are of and however far its sampling has got, so that none waits for another's end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepsound.generation.mmaudio.flow import Conditions
from deepsound.generation.mmaudio.flow_matching import GUIDANCE, guided_flow
from deepsound.generation.mmaudio.networks import Networks
from deepsound.generation.mmaudio.sampling_windows import WINDOW_SECONDS
from deepsound.generation.mmaudio.sequence_config import lengths_for
from deepsound.models.batching import Batcher, BatchLimits

_AT_ONCE = {"cuda": 8}
"""Windows in one pass. Elsewhere one: four together cost a CPU 0.9 of what they cost one by one, too little to
give up samples that are the same to the bit whatever else is made."""

_WAIT_SECONDS = 0.02
"""For company between two passes: less than a pass of the smallest network takes, more than a thread needs to come
back with the next step."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a window's latents are, (1, latents, latent_dim) in float32, at flow time `now`; what guidance moves
    them towards, and what away from.
    """

    latents: Tensor
    now: Tensor
    wanted: Conditions
    unwanted: Conditions

    @property
    def tokens(self) -> int:
        """Length of all sequences that the network joins for it."""
        return 2 * sum(part.shape[1] for part in (self.latents, self.wanted.clip, self.wanted.text))

    @property
    def shape(self) -> tuple[int, int]:
        """Positions of the same shape can be stacked."""
        return self.latents.shape[1], self.wanted.clip.shape[1]


class Passes:
    """Flow, autoencoder and vocoder over several requests. `at_once`: by default what the device gains from."""

    def __init__(self, networks: Networks, at_once: int | None = None) -> None:
        self.at_once = at_once or _AT_ONCE.get(networks.device.type, 1)
        self._networks = networks
        trained = lengths_for(WINDOW_SECONDS, networks.sizes.audio)
        window = 2 * (trained.latent + trained.clip + networks.sizes.flow.text_length)
        self.flow: Batcher[Position, Tensor] = Batcher(
            self._flows,
            BatchLimits(self.at_once, self.at_once * window, _WAIT_SECONDS),
            cost=lambda position: position.tokens,
            kind=lambda position: position.shape,
        )
        self.vae = self._stacking(lambda: networks.vae.decode)
        self.vocoder = self._stacking(lambda: networks.vocoder)

    def _flows(self, positions: Sequence[Position]) -> Sequence[Tensor]:
        with self._networks.turn():
            latents = torch.cat([position.latents for position in positions])
            now = torch.stack([position.now for position in positions])
            first, *others = [each.wanted for each in positions] + [each.unwanted for each in positions]
            both = first.joined(*others)
            return guided_flow(self._networks.flow, latents, now, both, GUIDANCE).split(1)

    def _stacking(self, network: Callable[[], Callable[[Tensor], Tensor]]) -> Batcher[Tensor, Tensor]:
        """Inputs of one shape, (1, channels, length), in one pass."""

        def run(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
            with self._networks.turn():
                return network()(torch.cat(list(inputs))).split(1)

        limits = BatchLimits(self.at_once, wait=_WAIT_SECONDS)
        return Batcher(run, limits, cost=lambda one: one.shape[-1], kind=lambda one: one.shape)
