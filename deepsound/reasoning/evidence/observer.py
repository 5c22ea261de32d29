"""Looks for people while a video goes by, and keeps what the reasoner needs: small arrays."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.detection.centerface import Face, Faces, centerface_identity, find_faces
from deepsound.detection.mouth_motion import grey_picture, is_watchable, mouth_motion
from deepsound.media.observers import FrameSampling, Observation

SIGHT = "evidence.sight"
"""Name of the observation."""

LOOKS_PER_SECOND = 4.0

FRAMES_A_LOOK = 3

SAMPLING = FrameSampling(rate=LOOKS_PER_SECOND * FRAMES_A_LOOK, long_side=480)
"""Mouths are watched in every frame, and faces looked for in every third."""

NEW_SHOT = 0.25
"""Share of the picture's colours that must change between two looks for a new shot to have begun."""

_REVISION = "2"  # raise it whenever the same frames would give other arrays
_LEVELS = 8
_INSTANT = 1e-6  # seconds


@dataclass(frozen=True, slots=True)
class _Look:
    time: float
    faces: Faces
    new_shot: bool
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Watch:
    time: float
    mouth: float
    face: float
    digest: bytes


class SightObserver:
    """One per video. Its observation, one row a look for faces:

    `time` (n,) presentation time in seconds; `faces` (n,) faces found; `score` (n,) of the likeliest face;
    `box` (n, 4) of that face, left, top, width, height as fractions of the picture; `new_shot` (n,) whether
    a shot began since the row before; `sha256` (n, 32) of the frame's RGB bytes.

    And one row a frame in which faces large enough to watch were seen, none of them by a look across a cut:
    `mouth_time` (m,); `mouth_motion` and `face_motion` (m,) of the face whose mouth moved most beside its
    other parts since the frame before (see mouths.py); `mouth_sha256` (m, 32) of the frame.
    """

    name = SIGHT
    sampling = SAMPLING

    def __init__(self) -> None:
        self._looks: list[_Look] = []
        self._watched: list[_Watch] = []
        self._unsure: list[_Watch] = []
        self._watchable: list[Face] = []
        self._colours: NDArray[np.float64] | None = None
        self._before: NDArray[np.uint8] | None = None

    @property
    def version(self) -> str:
        """Our own revision, and the weights."""
        return "-".join((_REVISION, *(digest[:12] for digest in centerface_identity().files.values())))

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Look at each frame of RGB (n, height, width, 3) by itself: on a CPU a batch is no faster."""
        for frame, time in zip(frames, times.tolist(), strict=True):
            is_look = self._is_look(time)
            if is_look or self._watchable:
                grey = grey_picture(frame)
                digest = hashlib.sha256(np.ascontiguousarray(frame).data).digest()
                self._watch(grey, time, digest)
                if is_look:
                    self._look(frame, time, digest)
                self._before = grey

    def finish(self) -> Observation:
        """The arrays."""
        self._watched += self._unsure
        self._unsure = []
        return _looks(self._looks) | _watches(self._watched)

    def _is_look(self, time: float) -> bool:
        """Whether the frame is the one on show at some k / LOOKS_PER_SECOND."""
        instant = int(np.ceil((time - _INSTANT) * LOOKS_PER_SECOND * FRAMES_A_LOOK))
        if not self._looks or instant % FRAMES_A_LOOK == 0:
            return True
        return time - self._looks[-1].time >= 1 / LOOKS_PER_SECOND - _INSTANT

    def _watch(self, grey: NDArray[np.uint8], time: float, digest: bytes) -> None:
        if not self._watchable or self._before is None:
            return
        moved = [mouth_motion(self._before, grey, face) for face in self._watchable]
        mouth, face = max(moved, key=lambda one: one[0] - one[1])
        self._unsure.append(_Watch(time, mouth, face, digest))

    def _look(self, frame: NDArray[np.uint8], time: float, digest: bytes) -> None:
        colours = _colours(frame)
        before = colours if self._colours is None else self._colours
        new_shot = float(np.abs(colours - before).sum()) / 2 >= NEW_SHOT
        faces = find_faces(frame)
        self._looks.append(_Look(time, faces, new_shot, digest))
        # Until now nobody knew whether the face was still there: after a cut it was not.
        self._watched += [] if new_shot or not faces.found else self._unsure
        self._unsure = []
        self._watchable = _watchable(faces.found, frame.shape[1], frame.shape[0])
        self._colours = colours


def _watchable(faces: Sequence[Face], width: int, height: int) -> list[Face]:
    """The faces large enough, and not far behind the largest."""
    largest = max((float(face.box[3]) for face in faces), default=0.0)
    return [face for face in faces if is_watchable(face, width, height) and face.box[3] >= largest / 2]


def _looks(looks: list[_Look]) -> dict[str, NDArray[np.generic]]:
    return {
        "time": np.array([look.time for look in looks], np.float64),
        "faces": np.array([look.faces.count for look in looks], np.int32),
        "score": np.array([look.faces.score for look in looks], np.float32),
        "box": np.array([look.faces.likeliest.box for look in looks], np.float32).reshape(-1, 4),
        "new_shot": np.array([look.new_shot for look in looks], np.bool_),
        "sha256": _digests([look.digest for look in looks]),
    }


def _watches(watches: list[_Watch]) -> dict[str, NDArray[np.generic]]:
    return {
        "mouth_time": np.array([watch.time for watch in watches], np.float64),
        "mouth_motion": np.array([watch.mouth for watch in watches], np.float32),
        "face_motion": np.array([watch.face for watch in watches], np.float32),
        "mouth_sha256": _digests([watch.digest for watch in watches]),
    }


def _digests(digests: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def _colours(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of the picture in each of 512 colours (8 levels of red, green and blue), every other pixel."""
    level = (frame[::2, ::2] // (256 // _LEVELS)).astype(np.intp)
    index = (level[..., 0] * _LEVELS + level[..., 1]) * _LEVELS + level[..., 2]
    return np.bincount(index.ravel(), minlength=_LEVELS**3) / index.size
