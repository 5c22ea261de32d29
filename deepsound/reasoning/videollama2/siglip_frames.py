"""Decoded frames as SigLIP takes them: squashed to 384 × 384 by Pillow, as the model was run.

Pillow's bicubic and PyTorch's differ by up to five levels, so the library is part of the recipe.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIGLIP_SIZE = 384


def siglip_frames(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB bytes (n, height, width, 3) to (n, 384, 384, 3)."""
    size, filtering = (SIGLIP_SIZE, SIGLIP_SIZE), Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, filtering)) for frame in frames])
