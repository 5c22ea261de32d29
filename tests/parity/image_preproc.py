"""Checks what each network's preprocessing makes of frames of five sizes: equal to the last bit."""

from collections.abc import Iterator

import torch
from torch import Tensor

from deepsound.generation.mmaudio.preprocessing import clip_frames, sync_frames
from deepsound.reasoning.videollama2.observer import siglip_frames
from tests.parity.golden import Comparison, Golden, compare


def check(golden: Golden) -> Iterator[Comparison]:
    """`SIZE.clip_u8`, `SIZE.sync_u8` and `SIZE.siglip_u8` of each `SIZE.in`."""
    for name, value in golden.tensors.items():
        size, _, kind = name.rpartition(".")
        if kind != "in":
            yield compare(name, _prepared(golden.tensors[f"{size}.in"], kind), value)


def _prepared(frames: Tensor, kind: str) -> Tensor:
    if kind == "clip_u8":
        return clip_frames(frames)
    if kind == "sync_u8":
        return sync_frames(frames)
    if kind == "siglip_u8":
        squashed = siglip_frames(frames.permute(0, 2, 3, 1).numpy())
        return torch.from_numpy(squashed).permute(0, 3, 1, 2)
    raise LookupError(f"no preprocessing called {kind}")
