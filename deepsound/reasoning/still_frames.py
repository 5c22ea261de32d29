"""Chooses a few still frames of a video for chat models and keeps them as JPEG files.

Reasoners that use the same stills share one observation, so the video is decoded once.
"""

import hashlib
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepsound.errors import InternalError
from deepsound.media.observers import Footage, FrameSampling, Observation
from deepsound.models.identity import ShownFrame

STILLS = "stills"
"""Name of the observation."""

MAX_STILLS = 16
"""Maximum number of stills, evenly spread over the video; videos under four seconds have fewer."""

STILL_LONG_SIDE = 512
"""Longer side of a still in pixels."""

JPEG_QUALITY = 85

CANDIDATES_PER_SECOND = 4.0

SAMPLING = FrameSampling(rate=CANDIDATES_PER_SECOND, long_side=STILL_LONG_SIDE)

_REVISION = "1"  # raise it whenever the same frames would give other arrays
_MAX_CANDIDATES = 8 * MAX_STILLS


class StillsObserver:
    """Observes one video. The observation has one row per still:

    `time` (n,): presentation time in seconds. `sha256` (n, 32): hash of the RGB bytes. `size` (n,): size of
    its JPEG file in bytes. `jpeg` (sum of sizes,): the JPEG files one after the other, uint8.

    The duration is known only at the end, so up to 128 candidates are kept. When there are more, every second one
    is dropped and the sampling interval doubles.
    """

    name = STILLS
    sampling = SAMPLING

    def __init__(self) -> None:
        self._seen = 0
        self._interval = 1
        self._end = 0.0
        self._candidates: list[tuple[float, bytes, bytes]] = []

    @property
    def version(self) -> str:
        """Revision of the selection, number of stills, their size and JPEG quality."""
        return f"{_REVISION}/{MAX_STILLS}/{STILL_LONG_SIDE}/{JPEG_QUALITY}"

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Keep every `_interval`th frame as a candidate."""
        for frame, time in zip(frames, times, strict=True):
            if self._seen % self._interval == 0:
                pixels = np.ascontiguousarray(frame)
                self._candidates.append((float(time), hashlib.sha256(pixels.data).digest(), _jpeg(pixels)))
            self._seen += 1
            self._end = float(time) + 1 / CANDIDATES_PER_SECOND
            if len(self._candidates) > _MAX_CANDIDATES:
                del self._candidates[1::2]
                self._interval *= 2

    def finish(self) -> Observation:
        """Choose the frame displayed in the middle of each of `MAX_STILLS` equal parts, each once."""
        times = np.array([time for time, _, _ in self._candidates])
        middles = (np.arange(MAX_STILLS) + 0.5) / MAX_STILLS * self._end
        displayed = np.unique(np.searchsorted(times, middles, side="right") - 1).clip(0)
        chosen = [self._candidates[int(index)] for index in displayed] if self._candidates else []
        return {
            "time": np.array([time for time, _, _ in chosen], np.float64),
            "sha256": np.frombuffer(b"".join(digest for _, digest, _ in chosen), np.uint8).reshape(-1, 32),
            "size": np.array([len(jpeg) for _, _, jpeg in chosen], np.int64),
            "jpeg": np.frombuffer(b"".join(jpeg for _, _, jpeg in chosen), np.uint8),
        }


def jpegs(observation: Observation) -> list[bytes]:
    """The JPEG files of an observation, in order."""
    ends = np.cumsum(observation["size"].astype(np.int64))
    return [part.tobytes() for part in np.split(observation["jpeg"], ends[:-1])]


def pictures(observation: Observation) -> NDArray[np.uint8]:
    """The stills of an observation as RGB bytes (n, height, width, 3)."""
    return np.stack([np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs(observation)])


def shown_frames(observation: Observation) -> tuple[ShownFrame, ...]:
    """Times and hashes of an observation's stills, as the ledger records them."""
    return tuple(
        ShownFrame(float(time), bytes(digest).hex())
        for time, digest in zip(observation["time"], observation["sha256"], strict=True)
    )


def stills_of(footage: Footage, reasoner: str) -> Observation:
    """The stills of the footage. Raises InternalError for footage without them, naming `reasoner`."""
    if STILLS not in footage.observations:
        raise InternalError(
            f"the footage holds no {STILLS}",
            where=reasoner,
            remedy="decode the video with the reasoner's observers",
        )
    return footage.observations[STILLS]


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
