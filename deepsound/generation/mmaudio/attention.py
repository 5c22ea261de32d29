"""Scaled dot-product attention, also where PyTorch's own is slow: in bfloat16 on a CPU.

PyTorch's fused kernel takes longer there than in float32. Plain products of a few heads at a time, whose scores
stay in the processor's cache, take half as long; for a single query, float32 takes a seventh.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor

_SCORES = 1 << 19
"""Scores that one thread works on at once: 1 MiB in bfloat16."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √d) v over (batch, heads, length, d); queries may have another length than keys."""
    if q.dtype != torch.bfloat16 or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    if q.shape[2] == 1:
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)
    # What all keys have in common moves all of a query's scores alike, which softmax does not see. Without it they
    # are small, and lose little by being rounded (smoothing of K: Zhang et al. 2025, SageAttention).
    asked, keys, values = (part.reshape(-1, *part.shape[2:]) for part in (q, k - k.mean(dim=2, keepdim=True), v))
    found = torch.empty_like(asked)
    few = max(torch.get_num_threads() * _SCORES // (asked.shape[1] * keys.shape[1]), 1)
    nothing, scale = q.new_empty(()), q.shape[-1] ** -0.5
    for start in range(0, len(asked), few):
        some = slice(start, start + few)
        scores = torch.baddbmm(nothing, asked[some], keys[some].transpose(1, 2), beta=0, alpha=scale)
        torch.bmm(torch.softmax(scores, dim=-1, out=scores), values[some], out=found[some])
    return found.view_as(q)
