"""Decoded frames as CLIP and Synchformer take them.

Frames are resized as bytes: rounding to whole levels after each pass is what the networks were run with, and a
resize in floating point differs by up to 12 levels. Frames are uint8 (n, 3, height, width) here.
"""

import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor

CLIP_SIZE = 384
SYNC_SIZE = 224


def clip_frames(frames: Tensor) -> Tensor:
    """Squashed to 384 × 384."""
    return _resized(frames, CLIP_SIZE, CLIP_SIZE)


def sync_frames(frames: Tensor) -> Tensor:
    """Short side 224, aspect kept, and the middle 224 × 224 of that."""
    height, width = frames.shape[-2:]
    if height <= width:
        frames = _resized(frames, SYNC_SIZE, SYNC_SIZE * width // height)
    else:
        frames = _resized(frames, SYNC_SIZE * height // width, SYNC_SIZE)
    top, left = (round((side - SYNC_SIZE) / 2) for side in frames.shape[-2:])
    return frames[..., top : top + SYNC_SIZE, left : left + SYNC_SIZE]


def clip_pixels(frames: Tensor) -> Tensor:
    """Bytes to [0, 1]; CLIP's own normalisation is part of its module."""
    return frames.float().div_(255)


def sync_pixels(frames: Tensor) -> Tensor:
    """Bytes to [-1, 1]."""
    return frames.float().div_(255).sub_(0.5).div_(0.5)


def _resized(frames: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(frames, size=(height, width), mode="bicubic", antialias=True)
