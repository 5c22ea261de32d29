"""The whole of VideoLLaMA2.1-AV in miniature: vision, embeddings, logits, greedy tokens."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import Qwen2Config, SiglipVisionConfig

from deepsound.reasoning.local.token_generation import Prompt, apply_repetition_penalty, generate
from deepsound.reasoning.videollama2.beats import BeatsConfig
from deepsound.reasoning.videollama2.checkpoint import fill_network
from deepsound.reasoning.videollama2.network import VideoLlama2, VideoLlama2Config
from deepsound.reasoning.videollama2.qwen2_decoding import forward_pass, prefill_embeddings
from tests.parity.golden import Comparison, Golden, compare

TINY = VideoLlama2Config(
    language=Qwen2Config(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=512,
        rope_theta=1e6,
        tie_word_embeddings=False,
    ),
    vision=SiglipVisionConfig(
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=84,
        patch_size=14,
    ),
    audio=BeatsConfig(
        embed=32,
        layers=2,
        dim=40,
        wide=80,
        heads=4,
        position_width=16,
        position_groups=4,
        buckets=32,
        max_distance=64,
    ),
    audio_projector="mlp2x_gelu",
    frames=4,
)
STORED = "w."
REPETITION_PENALTY = 1.05
MEDIA_TOKEN = -201
"""Stands in the golden ids where video and audio come."""


def check(golden: Golden) -> Iterator[Comparison]:
    """`videollama2_av_tiny`; its weights are stored."""
    network = stored_network(golden)
    given = golden.tensors
    pixels, fbank, ids = given["video"], given["fbank"][0], given["ids"][0].tolist()
    yield compare("vision", network.vision(pixels), given["vision"])
    before, after = around_media(network, ids)
    video, audio = network.encode_frames(pixels), network.encode_sound(fbank)
    prompt_v, prompt_av = torch.cat([before, video, after]), torch.cat([before, video, audio, after])
    yield compare("embeds_v", prompt_v[None], given["embeds_v"])
    yield compare("embeds_av", prompt_av[None], given["embeds_av"])
    shared = len(before) + len(video)
    for name, prompt, penalty in (
        ("gen", prompt_av, 1.0),
        ("gen_rep", prompt_av, REPETITION_PENALTY),
        ("genv", prompt_v, 1.0),
    ):
        greedy = Greedy(penalty, given[name].shape[1])
        before_and_rest = Prompt(prefill_embeddings(network.language, prompt[:shared]), prompt[shared:])
        generate(forward_pass(network.language), [before_and_rest], [greedy])
        if name == "gen":
            yield compare("logits_last", greedy.first[None], given["logits_last"])
        yield compare(name, torch.tensor([greedy.said]), given[name])


class Greedy:
    """Writes a fixed number of tokens, each the likeliest; keeps the logits of the first."""

    def __init__(self, penalty: float, count: int) -> None:
        self._penalty = penalty
        self._count = count
        self.said: list[int] = []
        self.first = torch.empty(0)

    def __call__(self, logits: Tensor) -> int | None:
        if not self.said:
            self.first = logits
        self.said.append(int(apply_repetition_penalty(logits, self.said, self._penalty).argmax()))
        return self.said[-1] if len(self.said) < self._count else None


def around_media(network: VideoLlama2, ids: list[int]) -> tuple[Tensor, Tensor]:
    """The words before the media and those after them, as vectors."""
    place = ids.index(MEDIA_TOKEN)
    return network.embed_tokens(ids[:place]), network.embed_tokens(ids[place + 1 :])


def stored_weights(golden: Golden) -> dict[str, Tensor]:
    """The weights a golden file carries, by their official names."""
    return {name[len(STORED) :]: value for name, value in golden.tensors.items() if name.startswith(STORED)}


def stored_network(golden: Golden) -> VideoLlama2:
    """The miniature with the file's own weights."""
    with torch.device("meta"):
        network = VideoLlama2(TINY)
    fill_network(network, stored_weights(golden), Path(golden.name))
    return network.eval()
