"""What MMAudio sees of a video: CLIP features 8 times a second, Synchformer tokens from 25 frames a second.

Both are computed while the video is decoded, and only the features are kept, on disk. As in training, the first
frame that begins at k / rate or later stands for instant k of a rate; one that is held stands for the time it is
shown.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepsound.errors import DeepSoundError, is_out_of_memory
from deepsound.generation.mmaudio.networks import Networks
from deepsound.generation.mmaudio.preprocessing import clip_frames, clip_pixels, sync_frames, sync_pixels
from deepsound.generation.mmaudio.sequence_config import CLIP_RATE, SYNC_RATE, SYNC_SEGMENT, SYNC_STRIDE
from deepsound.media.disk_arrays import ArraySpool
from deepsound.media.observers import (
    FrameChoice,
    FrameSampling,
    Observation,
    instants_before,
    instants_through,
    longest_step,
)

CLIP_OBSERVATION = "mmaudio-clip"
SYNC_OBSERVATION = "mmaudio-sync"

_AT_ONCE = {"cpu": 2, "cuda": 16}
"""Frames or segments in one pass. With more, buffers outgrow what the C library keeps for the next layer, and a
CPU spends its time mapping them anew. A GPU has no such cost; sixteen take about 1 GB of it."""

Floats = NDArray[np.float32]


class _Passes:
    """Passes over pictures, `_AT_ONCE` of them in each; once so many do not fit the memory, half as many."""

    def __init__(self, networks: Networks) -> None:
        self.at_once = _AT_ONCE.get(networks.device.type, min(_AT_ONCE.values()))

    def over(self, pictures: Tensor, encode: Callable[[Tensor], Floats]) -> Iterator[Floats]:
        """What `encode` makes of all, in order. Raises DeepSoundError OUT_OF_MEMORY if one alone does not fit."""
        while len(pictures):
            few = pictures[: self.at_once]
            try:
                found = encode(few)
            except DeepSoundError as error:
                if len(few) == 1 or not is_out_of_memory(error):
                    raise
                self.at_once = len(few) // 2
                continue
            yield found
            pictures = pictures[len(few) :]


class ClipObserver:
    """Keeps `time` (n,) in seconds and `feature` (n, clip_dim) of each frame it saw."""

    name = CLIP_OBSERVATION
    # The networks' own preprocessing resizes, so frames come in full size.
    sampling = FrameSampling(rate=CLIP_RATE, long_side=None, choice=FrameChoice.NEXT)

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self.version = f"3/{networks.precision}/{networks.sha256(networks.files.clip)[:16]}"
        self._times: list[NDArray[np.float64]] = []
        self._features = ArraySpool()
        self._passes = _Passes(networks)

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Take a block: RGB (n, height, width, 3), and presentation times (n,) in seconds."""
        self._networks.watched_with(self)
        self._times.append(times)
        for features in self._passes.over(_channels_first(frames), self._encoded):
            self._features.put(features)

    def finish(self) -> Observation:
        """Times and features of all frames."""
        self._networks.watched(self)
        return {"time": np.concatenate(self._times), "feature": self._features.joined()}

    def _encoded(self, frames: Tensor) -> Floats:
        pixels = clip_pixels(clip_frames(frames))
        with self._networks.turn():
            clip = self._networks.clip
            return clip.pictures(pixels.to(self._networks.device, _type(clip))).float().cpu().numpy()


class SyncObserver:
    """Keeps `token` (segments, 8, sync_dim): segment k covers 16 frames from k · 0.32 s on.

    The last frame is held until the video's end, and its segment's. Segments of a held picture are all the same,
    and encoded once.
    """

    name = SYNC_OBSERVATION
    sampling = FrameSampling(rate=SYNC_RATE, long_side=None, choice=FrameChoice.NEXT)

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self.version = f"3/{networks.precision}/{networks.sha256(networks.files.synchformer)[:16]}"
        self._last: tuple[float, Tensor] | None = None
        self._instants = 0
        self._recent: deque[Tensor] = deque(maxlen=SYNC_SEGMENT + SYNC_STRIDE)
        self._waiting: list[Tensor] = []
        self._passes = _Passes(networks)
        self._tokens = ArraySpool()
        self._latest: Floats = np.empty(0, np.float32)
        """Those of the last segment encoded: (1, 8, sync_dim)."""

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Take a block: RGB (n, height, width, 3), and presentation times (n,) in seconds."""
        self._networks.watched_with(self)
        for frame, time in zip(_channels_first(frames).split(1), times.tolist(), strict=True):
            picture = sync_frames(frame)[0]
            if self._last is not None and time - self._last[0] > longest_step(SYNC_RATE):
                self._show(self._last[1], instants_before(SYNC_RATE, time))
            self._show(picture, instants_through(SYNC_RATE, time))
            self._last = time, picture

    def shown_until(self, time: float) -> None:
        """The last frame is on show until `time`, in seconds."""
        if self._last is not None:
            self._show(self._last[1], instants_before(SYNC_RATE, time))

    def finish(self) -> Observation:
        """Tokens of all segments; at least one where anything was seen."""
        if self._last is not None:
            strides = max(math.ceil((self._instants - SYNC_SEGMENT) / SYNC_STRIDE), 0)
            self._show(self._last[1], SYNC_SEGMENT + strides * SYNC_STRIDE)
            self._encode()
        self._networks.watched(self)
        return {"token": self._tokens.joined()}

    def _show(self, picture: Tensor, instants: int) -> None:
        """Let `picture` stand for all that is left of the first `instants`."""
        while self._instants < instants:
            self._recent.append(picture)
            self._instants += 1
            if self._instants >= SYNC_SEGMENT and (self._instants - SYNC_SEGMENT) % SYNC_STRIDE == 0:
                self._complete()

    def _complete(self) -> None:
        """The last frames make up a segment."""
        shown = list(self._recent)
        if len(shown) == self._recent.maxlen and all(picture is shown[0] for picture in shown):
            # The segment before was this picture and nothing else, too.
            self._encode()
            self._tokens.put(self._latest)
            return
        self._waiting.append(torch.stack(shown[-SYNC_SEGMENT:]))
        if len(self._waiting) >= self._passes.at_once:
            self._encode()

    def _encode(self) -> None:
        """Run the segments that wait."""
        if self._waiting:
            for tokens in self._passes.over(torch.stack(self._waiting), self._encoded):
                self._tokens.put(tokens)
                self._latest = tokens[-1:]
            self._waiting.clear()

    def _encoded(self, segments: Tensor) -> Floats:
        pixels = sync_pixels(segments)
        with self._networks.turn():
            encoder = self._networks.synchformer
            return encoder(pixels.to(self._networks.device, _type(encoder))).float().cpu().numpy()


def _channels_first(frames: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _type(network: torch.nn.Module) -> torch.dtype:
    return next(network.parameters()).dtype
