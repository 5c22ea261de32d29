"""Which frames the model is shown: evenly spaced over the video, as it was trained and is run."""

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepsound.media.observers import FrameSampling, Observation

FRAMES = "videollama2.frames"
"""Name of the observation."""

SIGLIP_SIZE = 384
"""Width and height of a frame, in pixels."""

_REVISION = "1"
_HELD = 320


def siglip_frames(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames as SigLIP takes them: RGB bytes (n, height, width, 3) squashed to (n, 384, 384, 3) by Pillow.

    The released model was trained and is run with Pillow's bicubic filter; PyTorch's differs by up to five levels.
    """
    size, filtering = (SIGLIP_SIZE, SIGLIP_SIZE), Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, filtering)) for frame in frames])


def evenly_spaced(shown: int, count: int) -> NDArray[np.intp]:
    """The middle frame of each of `count` equal parts of a video of `shown` frames, as the reference rounds."""
    middles = (np.arange(count) + 0.5) * (shown - 1) / count
    return np.round(middles + 1e-6).astype(np.intp)


class FramesObserver:
    """One per video. Its observation, one row a chosen frame:

    `time` (n,) presentation time in seconds; `pixels` (n, 384, 384, 3) RGB bytes as SigLIP takes them;
    `sha256` (n, 32) of those bytes.

    How many frames there will be is known at the end alone, so all are held, squashed, up to 320; beyond that
    every second one is let go, then every fourth, and the one nearest to each wanted place is chosen. Up to
    320 frames the choice is the reference's; beyond, within half the gap between those held.
    """

    name = FRAMES
    sampling = FrameSampling(rate=None, long_side=None)

    def __init__(self, count: int) -> None:
        self._count = count
        self._shown = 0
        self._gap = 1
        self._held: list[tuple[float, NDArray[np.uint8]]] = []

    @property
    def version(self) -> str:
        """The rule and the number of frames."""
        return f"{_REVISION}/{self._count}"

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Hold the frames that fall on the gap."""
        for frame, time in zip(frames, times, strict=True):
            if self._shown % self._gap == 0:
                self._held.append((float(time), siglip_frames(frame[None])[0]))
            self._shown += 1
            if len(self._held) > _HELD:
                del self._held[1::2]
                self._gap *= 2

    def finish(self) -> Observation:
        """Choose; a video of fewer frames than wanted shows some twice."""
        wanted = evenly_spaced(self._shown, self._count) / self._gap
        nearest = np.minimum(np.round(wanted).astype(np.intp), len(self._held) - 1)
        chosen = [self._held[int(place)] for place in nearest]
        pixels = np.stack([frame for _, frame in chosen])
        digests = [hashlib.sha256(frame.tobytes()).digest() for frame in pixels]
        return {
            "time": np.array([time for time, _ in chosen], np.float64),
            "pixels": pixels,
            "sha256": np.stack([np.frombuffer(digest, np.uint8) for digest in digests]),
        }
