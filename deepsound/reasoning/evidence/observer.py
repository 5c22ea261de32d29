"""Looks for people while a video goes by, and keeps what the reasoner needs: small arrays."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from deepsound.media.footage import FrameSampling, Observation
from deepsound.reasoning.evidence.centerface import Faces, centerface_identity, find_faces

SIGHT = "evidence.sight"
"""Name of the observation."""

LOOKS_PER_SECOND = 4.0

SAMPLING = FrameSampling(rate=LOOKS_PER_SECOND, long_side=480)

NEW_SHOT = 0.25
"""Share of the picture's colours that must change between two looks for a new shot to have begun."""

_REVISION = "1"  # raise it whenever the same frames would give other arrays
_LEVELS = 8


class SightObserver:
    """One per video. Its observation, one row a frame looked at:

    `time` (n,) presentation time in seconds; `faces` (n,) faces found; `score` (n,) of the likeliest face;
    `box` (n, 4) of that face, left, top, width, height as fractions of the picture; `new_shot` (n,) whether
    a shot began since the row before; `sha256` (n, 32) of the frame's RGB bytes.
    """

    name = SIGHT
    sampling = SAMPLING

    def __init__(self) -> None:
        self._times: list[float] = []
        self._faces: list[Faces] = []
        self._new_shot: list[bool] = []
        self._digests: list[bytes] = []
        self._colours: NDArray[np.float64] | None = None

    @property
    def version(self) -> str:
        """Our own revision, and the weights."""
        return "-".join((_REVISION, *(digest[:12] for digest in centerface_identity().files.values())))

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Look at each frame of RGB (n, height, width, 3) by itself: on a CPU a batch is no faster."""
        for frame, time in zip(frames, times, strict=True):
            colours = _colours(frame)
            before = colours if self._colours is None else self._colours
            self._new_shot.append(float(np.abs(colours - before).sum()) / 2 >= NEW_SHOT)
            self._colours = colours
            self._times.append(float(time))
            self._faces.append(find_faces(frame))
            self._digests.append(hashlib.sha256(np.ascontiguousarray(frame).data).digest())

    def finish(self) -> Observation:
        """The arrays."""
        return {
            "time": np.array(self._times, np.float64),
            "faces": np.array([faces.count for faces in self._faces], np.int32),
            "score": np.array([faces.score for faces in self._faces], np.float32),
            "box": np.array([faces.box for faces in self._faces], np.float32).reshape(-1, 4),
            "new_shot": np.array(self._new_shot, np.bool_),
            "sha256": np.frombuffer(b"".join(self._digests), np.uint8).reshape(-1, 32),
        }


def _colours(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of the picture in each of 512 colours (8 levels of red, green and blue), every other pixel."""
    level = (frame[::2, ::2] // (256 // _LEVELS)).astype(np.intp)
    index = (level[..., 0] * _LEVELS + level[..., 1]) * _LEVELS + level[..., 2]
    return np.bincount(index.ravel(), minlength=_LEVELS**3) / index.size
