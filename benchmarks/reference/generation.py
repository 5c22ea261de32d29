"""Step 1 as the reference runs it: everything anew for every call, batch 1, one precision for all networks."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.reference import encoders
from benchmarks.reference.pictures import Reel, decode_all
from benchmarks.reference.vocoder import vocode
from benchmarks.synthetic_checkpoints import PREFIX
from deepsound.generation.mmaudio.bigvgan import fold_weight_norm
from deepsound.generation.mmaudio.flow import EXACT, Conditions, FlowNetwork, load_flow
from deepsound.generation.mmaudio.flow_matching import GUIDANCE, STEPS, draw_noise
from deepsound.generation.mmaudio.networks import Files, Sizes
from deepsound.generation.mmaudio.preprocessing import clip_frames, clip_pixels, sync_frames, sync_pixels
from deepsound.generation.mmaudio.sequence_config import (
    CLIP_RATE,
    SYNC_RATE,
    SYNC_SEGMENT,
    SYNC_STRIDE,
    Lengths,
    lengths_for,
)
from deepsound.generation.mmaudio.tokens import read_tokenizer, tokenize
from deepsound.generation.mmaudio.vae import load_vae
from deepsound.media.probe import probe
from deepsound.models.checkpoints import move_to_device, read_state


class Generation:
    """The five networks in one precision. The reference's is bfloat16, the vocoder's too."""

    def __init__(self, sizes: Sizes, files: Files, dtype: torch.dtype) -> None:
        self.sizes, self.dtype = sizes, dtype
        self.tokenizer = read_tokenizer(files.vocabulary)
        self.clip = _typed(read_state(files.clip.path), dtype)
        state = read_state(files.synchformer.path)
        self.synchformer = _typed(
            {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}, dtype
        )
        self.flow = move_to_device(load_flow(files.flow.path, sizes.flow), torch.device("cpu"), dtype, exact=EXACT)
        self.vae = load_vae(files.vae.path, sizes.vae).to(dtype)
        self.vocoder = _typed(fold_weight_norm(read_state(files.vocoder.path, under="generator")), dtype)

    def generate(self, video: Path, prompt: str, negative: str, seed: int) -> tuple[NDArray[np.float32], Reel]:
        """Sound (1, samples) for all of a video, and its frames, which are encoded again afterwards."""
        reel = decode_all(video)
        seconds = probe(video).duration
        lengths = lengths_for(seconds, self.sizes.audio)
        clip, sync = self._seen(reel, lengths), self._moved(reel, lengths)
        conditions = self.flow.conditions(clip, sync, self._text(prompt), lengths.latent)
        empty = self.flow.empty_conditions(lengths.clip, lengths.sync, self._text(negative), lengths.latent)
        noise = draw_noise([seed], lengths.latent, self.sizes.flow.latent_dim).to(self.dtype)
        latents = _sampled(self.flow, noise, conditions, empty)
        latents = latents * self.flow.latent_std + self.flow.latent_mean
        mel = self.vae.decode(latents.transpose(1, 2))
        sound = vocode(self.vocoder, self.sizes.vocoder, mel).float()[0]
        return sound[:, : round(seconds * self.sizes.audio.sample_rate)].numpy(), reel

    def _seen(self, reel: Reel, lengths: Lengths) -> Tensor:
        pixels = clip_pixels(clip_frames(reel.sampled(CLIP_RATE, lengths.clip))).to(self.dtype)
        heads = self.sizes.clip.vision_config.num_attention_heads
        parts = [encoders.clip_pictures(self.clip, few, heads) for few in pixels.split(encoders.AT_ONCE)]
        return torch.cat(parts)[None]

    def _moved(self, reel: Reel, lengths: Lengths) -> Tensor:
        segments = lengths.sync // SYNC_STRIDE
        frames = reel.sampled(SYNC_RATE, (segments - 1) * SYNC_STRIDE + SYNC_SEGMENT)
        pixels = sync_pixels(sync_frames(frames)).to(self.dtype)
        windows = torch.stack([pixels[k * SYNC_STRIDE : k * SYNC_STRIDE + SYNC_SEGMENT] for k in range(segments)])
        heads = self.sizes.synchformer.heads
        parts = [encoders.synchformer(self.synchformer, few, heads) for few in windows.split(encoders.AT_ONCE)]
        return torch.cat(parts).flatten(0, 1)[None]

    def _text(self, text: str) -> Tensor:
        tokens = tokenize(self.tokenizer, text, self.sizes.flow.text_length)
        return encoders.clip_texts(self.clip, tokens, self.sizes.clip.text_config.num_attention_heads)


def _typed(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: value.to(dtype) for name, value in state.items()}


def _sampled(network: FlowNetwork, x: Tensor, conditions: Conditions, empty: Conditions) -> Tensor:
    """Euler steps in the networks' own precision, guidance by two passes."""
    times = torch.linspace(0, 1, STEPS + 1)
    for now, following in pairwise(times):
        t = now.expand(1)
        wanted, unwanted = network(x, t, conditions), network(x, t, empty)
        x = x + (following - now).to(x.dtype) * (GUIDANCE * wanted + (1 - GUIDANCE) * unwanted)
    return x
