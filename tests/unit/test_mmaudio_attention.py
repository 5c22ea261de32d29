"""Attention in every type, and the encoders that use it: short cuts change nothing but the time."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deepsound.generation.mmaudio.attention import attend
from deepsound.generation.mmaudio.clip import CLIP, load_open_clip
from deepsound.generation.mmaudio.synchformer import Synchformer, SynchformerConfig
from deepsound.models.checkpoints import load_strict
from tests.mmaudio_checkpoints import small_sizes
from tests.parity.clip import open_clip_shapes
from tests.parity.filling import fill, floating_shapes, rand


def relative(ours: Tensor, expected: Tensor) -> float:
    return float((ours.float() - expected.float()).norm() / expected.float().norm())


def queries_keys_values(queries: int, keys: int, dtype: torch.dtype, *, batch: int = 2) -> list[Tensor]:
    """(batch, 3 heads, length, 16) as views of one projection, as networks hand them over."""
    joined = rand("attention", (batch, max(queries, keys), 3, 3, 16)).to(dtype).permute(2, 0, 3, 1, 4)
    return [part[:, :, :length] for part, length in zip(joined, (queries, keys, keys), strict=True)]


@settings(max_examples=25, deadline=None)
@given(queries=st.integers(1, 40), keys=st.integers(1, 60), batch=st.integers(1, 3))
def test_bfloat16_attention_is_attention(queries: int, keys: int, batch: int) -> None:
    q, k, v = queries_keys_values(queries, keys, torch.bfloat16, batch=batch)
    exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    found = attend(q, k, v)
    assert (found.shape, found.dtype) == (exact.shape, torch.bfloat16)
    assert relative(found, exact) < 0.02


def test_more_scores_than_fit_at_once_are_worked_off_in_turn() -> None:
    q, k, v = queries_keys_values(700, 900, torch.bfloat16)
    exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    assert relative(attend(q, k, v), exact) < 0.02


def test_what_all_keys_have_in_common_costs_no_precision() -> None:
    q, k, v = queries_keys_values(50, 60, torch.bfloat16)
    shifted = k + 30
    exact = F.scaled_dot_product_attention(q.float(), shifted.float(), v.float())
    assert relative(attend(q, shifted, v), exact) < 0.02


def test_pictures_are_what_the_whole_tower_makes_of_them() -> None:
    config = small_sizes().clip
    config.vision_config.num_hidden_layers = 3
    with torch.device("meta"):
        clip = CLIP(config).eval()
    load_open_clip(clip, fill(open_clip_shapes(config)).tensors, Path("clip"))
    pixels = rand("pixels", (2, 3, 384, 384))
    with torch.inference_mode():
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
        deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
        cropped = (pixels[..., :378, :378] - mean) / deviation
        whole = clip.model.get_image_features(pixel_values=cropped).pooler_output
        assert relative(clip.raw_pictures(pixels), whole) < 1e-5


def test_bfloat16_encoders_stay_within_two_percent() -> None:
    with torch.device("meta"):
        synchformer = Synchformer(SynchformerConfig(width=64, heads=4, depth=2)).eval()
    filled = fill(floating_shapes(synchformer.state_dict())).tensors
    load_strict(synchformer, filled, network="small", where=Path("small"))
    segments = rand("segments", (1, 16, 3, 224, 224)).clamp(-1, 1)
    with torch.inference_mode():
        exact = synchformer(segments)
        assert relative(synchformer.bfloat16()(segments.bfloat16()), exact) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_segments_do_not_depend_on_their_batch(dtype: torch.dtype) -> None:
    with torch.device("meta"):
        synchformer = Synchformer(SynchformerConfig(width=32, heads=2, depth=1)).eval()
    filled = fill(floating_shapes(synchformer.state_dict())).tensors
    load_strict(synchformer, filled, network="small", where=Path("small"))
    synchformer.to(dtype)
    segments = rand("segments", (3, 16, 3, 224, 224)).clamp(-1, 1).to(dtype)
    with torch.inference_mode():
        together = synchformer(segments)
        alone = torch.cat([synchformer(one) for one in segments.split(1)])
    assert relative(together, alone) < 1e-4
