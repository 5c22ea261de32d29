"""Checks CLIP on two pictures and two texts, through the published layout with open_clip's names."""

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from transformers import CLIPConfig

from deepsound.generation.mmaudio.clip import CLIP, load_open_clip, vit_h_14_378
from tests.parity.filling import fill, rand
from tests.parity.golden import Comparison, Golden, compare, compare_digest

_OVERRIDES = (
    ("logit_scale", 4.6, 0.0),
    ("token_embedding|positional_embedding", 0.0, 0.02),
    ("class_embedding", 0.0, 0.02),
)

Shapes = dict[str, tuple[int, ...]]


def check(golden: Golden) -> Iterator[Comparison]:
    """Features of unit length, and `_raw` ones before that."""
    config = vit_h_14_378()
    filled = fill(open_clip_shapes(config), _OVERRIDES)
    yield compare_digest(filled.digest, golden)
    with torch.device("meta"):
        clip = CLIP(config).eval()
    load_open_clip(clip, filled.tensors, Path(golden.name))
    filled.tensors.clear()
    pixels = (rand("clip/x", (2, 3, 384, 384)) * 0.25 + 0.5).clamp(0, 1)
    pictures, texts = clip.raw_pictures(pixels), clip.raw_texts(golden.tensors["tokens"])
    yield compare("image_raw", pictures, golden.tensors["image_raw"])
    yield compare("image", F.normalize(pictures, dim=-1), golden.tensors["image"])
    yield compare("text_raw", texts, golden.tensors["text_raw"])
    yield compare("text", clip.texts(golden.tensors["tokens"]), golden.tensors["text"])


def open_clip_shapes(config: CLIPConfig) -> Shapes:
    """Every name and shape of an open_clip state dict with the sizes of `config`."""
    vision, text = config.vision_config, config.text_config
    places = (vision.image_size // vision.patch_size) ** 2 + 1
    shapes: Shapes = {
        "logit_scale": (),
        "positional_embedding": (text.max_position_embeddings, text.hidden_size),
        "text_projection": (text.hidden_size, config.projection_dim),
        "token_embedding.weight": (text.vocab_size, text.hidden_size),
        "visual.class_embedding": (vision.hidden_size,),
        "visual.positional_embedding": (places, vision.hidden_size),
        "visual.proj": (vision.hidden_size, config.projection_dim),
        "visual.conv1.weight": (vision.hidden_size, 3, vision.patch_size, vision.patch_size),
    }
    norms = {"visual.ln_pre": vision, "visual.ln_post": vision, "ln_final": text}
    for name, tower in norms.items():
        shapes |= {f"{name}.weight": (tower.hidden_size,), f"{name}.bias": (tower.hidden_size,)}
    for prefix, tower in (("visual.transformer", vision), ("transformer", text)):
        for layer in range(tower.num_hidden_layers):
            shapes |= _layer_shapes(f"{prefix}.resblocks.{layer}", tower.hidden_size, tower.intermediate_size)
    return shapes


def _layer_shapes(prefix: str, width: int, inner: int) -> Shapes:
    shapes: Shapes = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        "mlp.c_fc.weight": (inner, width),
        "mlp.c_fc.bias": (inner,),
        "mlp.c_proj.weight": (width, inner),
        "mlp.c_proj.bias": (width,),
    }
    for norm in ("ln_1", "ln_2"):
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}
