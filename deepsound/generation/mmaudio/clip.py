"""CLIP ViT-H/14 at 378 pixels: what is on each picture, and what a text asks for.

The published file has open_clip's names (DFN5B-CLIP-ViT-H-14-378, Fang et al. 2023); the network is
transformers' own. Text features are those of every token, not of the sentence.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from deepsound.generation.mmaudio.attention import attend
from deepsound.models.checkpoints import check_state, load_strict, read_state

_NETWORK = "CLIP ViT-H-14-378"
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_QUICK = 1.702

Tower = Literal["pictures", "texts"]
"""The half of CLIP that looks, and the half that reads."""

_TOWERS = (
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
)
_IN_LAYER = (
    ("ln_1.", "layer_norm1."),
    ("ln_2.", "layer_norm2."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
    ("attn.out_proj.", "self_attn.out_proj."),
)
_OUTSIDE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_TRANSPOSED = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}


def vit_h_14_378() -> CLIPConfig:
    """Sizes of the published network."""
    return CLIPConfig(
        vision_config={
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "patch_size": 14,
            "image_size": 378,
            "hidden_act": "quick_gelu",
        },
        text_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "vocab_size": 49_408,
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
            "bos_token_id": 49_406,
            "eos_token_id": 49_407,
        },
        projection_dim=1024,
    )


class CLIP(nn.Module):
    """Picture and text features as MMAudio takes them, of unit length."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.model = CLIPModel(config)
        self.image_size = cast(int, self.model.vision_model.embeddings.image_size)

    def pictures(self, pixels: Tensor) -> Tensor:
        """Pictures (n, 3, 384, 384) in [0, 1] to features (n, 1024)."""
        return F.normalize(self.raw_pictures(pixels), dim=-1)

    def raw_pictures(self, pixels: Tensor) -> Tensor:
        """Features of any length.

        Patches that the picture doesn't fill are dropped, as a strided convolution does: of 384 pixels, 378.
        """
        mean, deviation = (pixels.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _DEVIATION))
        cropped = (pixels[..., : self.image_size, : self.image_size] - mean) / deviation
        tower = self.model.vision_model
        x = tower.pre_layrnorm(tower.embeddings(cropped))
        *blocks, last = cast("list[CLIPEncoderLayer]", list(tower.encoder.layers))
        for block in blocks:
            x = _through(block, x, x.shape[1])
        # Of the last block's output only the class token is read, so only that is computed.
        seen = _through(last, x, 1)[:, 0]
        return self.model.visual_projection(tower.post_layernorm(seen))

    def texts(self, tokens: Tensor) -> Tensor:
        """Token ids (n, 77), padded with 0, to a feature for each token (n, 77, 1024)."""
        return F.normalize(self.raw_texts(tokens), dim=-1)

    def raw_texts(self, tokens: Tensor) -> Tensor:
        """Features of any length. Padding is read like the rest: the flow networks were trained with it."""
        return self.model.text_model(input_ids=tokens).last_hidden_state


def _through(block: CLIPEncoderLayer, x: Tensor, count: int) -> Tensor:
    """A block's output for the first `count` tokens of (n, tokens, width), without its passing buffers."""
    attention, normed = block.self_attn, block.layer_norm1(x)
    first = normed[:, :count].contiguous()
    parts = (attention.q_proj(first), attention.k_proj(normed), attention.v_proj(normed))
    found = attend(*(part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in parts))
    x = x[:, :count] + attention.out_proj(found.transpose(1, 2).flatten(2))
    inner = block.mlp.fc1(block.layer_norm2(x))
    # Quick GELU, x · σ(1.702 x), in place: its three buffers are the largest there are.
    inner = F.silu(inner.mul_(_QUICK), inplace=True).mul_(1 / _QUICK)
    return x + block.mlp.fc2(inner)


def load_clip(path: Path, config: CLIPConfig | None = None, *, tower: Tower | None = None) -> CLIP:
    """CLIP from `open_clip_pytorch_model.bin`, in float32, or one of its towers. Raises DeepSoundError."""
    with torch.device("meta"):
        clip = CLIP(config or vit_h_14_378())
    load_open_clip(clip, read_state(path), path)
    if tower == "pictures":
        del clip.model.text_model, clip.model.text_projection
    elif tower == "texts":
        del clip.model.vision_model, clip.model.visual_projection
    return clip.eval()


def load_open_clip(clip: CLIP, state: Mapping[str, Tensor], where: Path) -> None:
    """Give `clip`, which may be on the meta device, the tensors of an open_clip state dict.

    Raises DeepSoundError MODEL_FAILED that speaks of the file by the names that stand in it.
    """
    check_state(_expected(clip), state, network=_NETWORK, where=where)
    load_strict(clip.model, from_open_clip(state), network=_NETWORK, where=where)
    for embeddings in (clip.model.text_model.embeddings, clip.model.vision_model.embeddings):
        # A constant outside the state dict, which the meta device left empty.
        length = embeddings.position_embedding.num_embeddings
        embeddings.register_buffer("position_ids", torch.arange(length).expand(1, -1), persistent=False)


def from_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under transformers' names. `state` has open_clip's names and shapes, each of them."""
    converted: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in _TRANSPOSED:
            converted[_TRANSPOSED[name]] = value.T
        elif joined := re.fullmatch(r"(.+)attn\.in_proj_(weight|bias)", name):
            for part, third in zip("qkv", value.chunk(3), strict=True):
                converted[f"{_renamed(joined[1])}self_attn.{part}_proj.{joined[2]}"] = third
        else:
            converted[_OUTSIDE.get(name) or _renamed(name)] = value
    return converted


def _expected(clip: CLIP) -> dict[str, Tensor]:
    """What an open_clip state dict of this network holds, on the meta device."""
    theirs = {ours: name for name, ours in (_OUTSIDE | _TRANSPOSED).items()}
    expected: dict[str, Tensor] = {}
    for name, value in clip.model.state_dict().items():
        empty = value.to("meta")
        if name in _TRANSPOSED.values():
            expected[theirs[name]] = empty.T
        elif third := re.fullmatch(r"(.+)self_attn\.[qkv]_proj\.(weight|bias)", name):
            expected[f"{_renamed(third[1], back=True)}attn.in_proj_{third[2]}"] = torch.cat([empty] * 3)
        else:
            expected[theirs.get(name) or _renamed(name, back=True)] = empty
    return expected


def _renamed(name: str, *, back: bool = False) -> str:
    """A layer's tensor under transformers' name, or `back` under open_clip's; any other name as it is."""
    for old, new in _either_way(_TOWERS, back):
        if name.startswith(old):
            layer, _, rest = name.removeprefix(old).partition(".")
            for inner, renamed in _either_way(_IN_LAYER, back):
                if rest.startswith(inner):
                    rest = renamed + rest.removeprefix(inner)
                    break
            return f"{new}{layer}.{rest}"
    return name


def _either_way(names: Iterable[tuple[str, str]], back: bool) -> Iterator[tuple[str, str]]:
    return ((ours, theirs) if back else (theirs, ours) for theirs, ours in names)
