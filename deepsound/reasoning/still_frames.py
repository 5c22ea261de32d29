"""The frames that a chat model is shown: a few stills of the video, kept as JPEG files.

Reasoners that show the same stills share them: the video is decoded once for all.
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
"""Most frames shown, evenly spread over the video; a video under four seconds has fewer to show."""

STILL_LONG_SIDE = 512
"""Their longer side in pixels."""

JPEG_QUALITY = 85

CANDIDATES_PER_SECOND = 4.0

SAMPLING = FrameSampling(rate=CANDIDATES_PER_SECOND, long_side=STILL_LONG_SIDE)

_REVISION = "1"  # raise it whenever the same frames would give other arrays
_HELD = 8 * MAX_STILLS


class StillsObserver:
    """One per video. Its observation, one row a chosen frame:

    `time` (n,) presentation time in seconds; `sha256` (n, 32) of the frame's RGB bytes; `size` (n,) of its JPEG
    file in bytes; `jpeg` (sum of sizes,) these files one after the other, as uint8.

    How long the video is shows at its end alone, so up to 128 frames are held; whenever there are more, every
    second one is let go, and only half as many are held from there on.
    """

    name = STILLS
    sampling = SAMPLING

    def __init__(self) -> None:
        self._seen = 0
        self._gap = 1
        self._end = 0.0
        self._held: list[tuple[float, bytes, bytes]] = []

    @property
    def version(self) -> str:
        """The rule, the number of frames, their size and quality."""
        return f"{_REVISION}/{MAX_STILLS}/{STILL_LONG_SIDE}/{JPEG_QUALITY}"

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Hold the frames that fall on the gap."""
        for frame, time in zip(frames, times, strict=True):
            if self._seen % self._gap == 0:
                pixels = np.ascontiguousarray(frame)
                self._held.append((float(time), hashlib.sha256(pixels.data).digest(), _jpeg(pixels)))
            self._seen += 1
            self._end = float(time) + 1 / CANDIDATES_PER_SECOND
            if len(self._held) > _HELD:
                del self._held[1::2]
                self._gap *= 2

    def finish(self) -> Observation:
        """Choose the frame on show in the middle of each of `MAX_STILLS` equal parts, each once."""
        held = np.array([time for time, _, _ in self._held])
        middles = (np.arange(MAX_STILLS) + 0.5) / MAX_STILLS * self._end
        on_show = np.unique(np.searchsorted(held, middles, side="right") - 1).clip(0)
        chosen = [self._held[int(place)] for place in on_show] if self._held else []
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
    """The stills of an observation as the ledger names them."""
    return tuple(
        ShownFrame(float(time), bytes(digest).hex())
        for time, digest in zip(observation["time"], observation["sha256"], strict=True)
    )


def stills_of(footage: Footage, reasoner: str) -> Observation:
    """The observation of the stills. Raises InternalError for footage without it, naming `reasoner`."""
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
