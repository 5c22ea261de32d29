"""CLIP and Synchformer on the published names, as the reference runs them: forty pictures or segments at once."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor

Parameters = Mapping[str, Tensor]

AT_ONCE = 40
_PATCH = 14
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_STEPS = 8
_EPS = 1e-6


def clip_pictures(w: Parameters, pixels: Tensor, heads: int) -> Tensor:
    """Pictures (n, 3, 384, 384) in [0, 1] to features (n, width) of unit length."""
    mean, deviation = (pixels.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _DEVIATION))
    patches = F.conv2d((pixels - mean) / deviation, w["visual.conv1.weight"], stride=_PATCH)
    patches = patches.flatten(2).transpose(1, 2)
    start = w["visual.class_embedding"].expand(len(patches), 1, -1)
    x = torch.cat([start, patches], dim=1) + w["visual.positional_embedding"]
    x = _blocks(w, "visual.transformer", _norm(w, "visual.ln_pre", x), heads, None)
    return F.normalize(_norm(w, "visual.ln_post", x[:, 0]) @ w["visual.proj"], dim=-1)


def clip_texts(w: Parameters, tokens: Tensor, heads: int) -> Tensor:
    """Token ids (n, length) to a feature of unit length for each token."""
    x = F.embedding(tokens, w["token_embedding.weight"]) + w["positional_embedding"]
    length = tokens.shape[1]
    mask = torch.full((length, length), float("-inf"), dtype=x.dtype).triu(1)
    return F.normalize(_norm(w, "ln_final", _blocks(w, "transformer", x, heads, mask)), dim=-1)


def _blocks(w: Parameters, name: str, x: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    depth = len({key.split(".resblocks.")[1].split(".")[0] for key in w if key.startswith(f"{name}.resblocks.")})
    for layer in range(depth):
        x = _block(w, f"{name}.resblocks.{layer}", x, heads, mask)
    return x


def _block(w: Parameters, name: str, x: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    x = x + _attention(w, f"{name}.attn", _norm(w, f"{name}.ln_1", x), heads, mask)
    inner = _linear(w, f"{name}.mlp.c_fc", _norm(w, f"{name}.ln_2", x))
    return x + _linear(w, f"{name}.mlp.c_proj", inner * torch.sigmoid(1.702 * inner))


def _attention(w: Parameters, name: str, x: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """As PyTorch's own multi-head attention has it: one projection in, one out."""
    parts = F.linear(x, w[f"{name}.in_proj_weight"], w[f"{name}.in_proj_bias"]).chunk(3, dim=-1)
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return _linear(w, f"{name}.out_proj", found.transpose(1, 2).flatten(2))


def synchformer(w: Parameters, segments: Tensor, heads: int) -> Tensor:
    """Segments (n, 16, 3, 224, 224) in [-1, 1] to tokens (n, 8, width); names without their common prefix."""
    name = "patch_embed_3d.proj"
    size = w[f"{name}.weight"].shape[2:]
    patches = F.conv3d(segments.transpose(1, 2), w[f"{name}.weight"], w[f"{name}.bias"], stride=size)
    patches = patches.flatten(2).transpose(1, 2)
    places = w["pos_embed"][:, None, 1:] + w["temp_embed"][:, :, None]
    start = (w["cls_token"] + w["pos_embed"][:, :1]).expand(len(patches), -1, -1)
    x = torch.cat([start, patches + places.flatten(1, 2)], dim=1)
    for layer in range(len({key.split(".")[1] for key in w if key.startswith("blocks.")})):
        block = f"blocks.{layer}"
        x = x + _divided(w, f"{block}.timeattn", _norm(w, f"{block}.norm3", x, _EPS), heads, over_time=True)
        x = x + _divided(w, f"{block}.attn", _norm(w, f"{block}.norm1", x, _EPS), heads, over_time=False)
        inner = F.gelu(_linear(w, f"{block}.mlp.fc1", _norm(w, f"{block}.norm2", x, _EPS)))
        x = x + _linear(w, f"{block}.mlp.fc2", inner)
    steps = _norm(w, "norm", x[:, 1:], _EPS).unflatten(1, (_STEPS, -1)).flatten(0, 1)
    return _gathered(w, steps, heads).unflatten(0, (-1, _STEPS))


def _divided(w: Parameters, name: str, x: Tensor, heads: int, *, over_time: bool) -> Tensor:
    """Attention within the patches of a step, or the steps of a patch; softmax and sums written out."""
    qkv = _linear(w, f"{name}.qkv", x).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).flatten(1, 2)
    q, k, v = qkv.unbind(0)
    q = q * q.shape[-1] ** -0.5
    whole = _attend(q[:, :1], k, v)
    members = [part[:, 1:].unflatten(1, (_STEPS, -1)) for part in (q, k, v)]
    if over_time:
        members = [part.transpose(1, 2) for part in members]
    groups = members[0].shape[1]
    first = [part[:, :1].repeat_interleave(groups, dim=0) for part in (k, v)]
    near_q, near_k, near_v = (part.flatten(0, 1) for part in members)
    found = _attend(near_q, torch.cat([first[0], near_k], dim=1), torch.cat([first[1], near_v], dim=1))
    found = found.unflatten(0, (-1, groups))
    found = (found.transpose(1, 2) if over_time else found).flatten(1, 2)
    joined = torch.cat([whole, found], dim=1).unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)
    return _linear(w, f"{name}.proj", joined)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(1, 2)).softmax(dim=-1) @ v


def _gathered(w: Parameters, patches: Tensor, heads: int) -> Tensor:
    name = "spatial_attn_agg"
    x = torch.cat([w[f"{name}.cls_token"].expand(len(patches), -1, -1), patches], dim=1)
    x = x + _attention(w, f"{name}.self_attn", _norm(w, f"{name}.norm1", x, _EPS), heads, None)
    inner = F.gelu(_linear(w, f"{name}.linear1", _norm(w, f"{name}.norm2", x, _EPS)))
    return (x + _linear(w, f"{name}.linear2", inner))[:, 0]


def _linear(w: Parameters, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _norm(w: Parameters, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)
