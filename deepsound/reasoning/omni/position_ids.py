"""The places of a prompt's tokens, as a family counts them, and how its words go on from there.

All families count from the beginning, and what comes later moves nothing that came before: so a prompt's
beginning, video included, has the same places whatever is asked about it.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel


def tmrope_positions(network: PreTrainedModel, tensors: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """Qwen's: time, height and width of each token (3, length), video on the clock of its frames.

    TMRoPE (Qwen2.5-Omni, arXiv 2503.20215, section 2.2). Words after the prompt have all three alike, so far ahead
    of their number; below 0, since the patches of a frame share its time.
    """
    sounds = tensors.get("feature_attention_mask")
    places, ahead = cast(Any, network).get_rope_index(
        tensors["input_ids"],
        video_grid_thw=tensors.get("video_grid_thw"),
        attention_mask=tensors["attention_mask"],
        audio_seqlens=None if sounds is None else sounds.sum(1),
        second_per_grids=tensors.get("video_second_per_grid"),
    )
    return places[:, 0], int(ahead)


def sequential_positions(network: PreTrainedModel, tensors: Mapping[str, Tensor]) -> tuple[Tensor, int]:  # noqa: ARG001 - as all
    """One after the other, (length,)."""
    return torch.arange(tensors["input_ids"].shape[1]), 0
