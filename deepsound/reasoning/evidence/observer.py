"""Detects faces and measures mouth motion while a video is decoded."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.detection.centerface import Face, Faces, centerface_identity, find_faces
from deepsound.detection.mouth_motion import is_large_enough, mouth_motion, to_grey
from deepsound.media.observers import FrameSampling, Observation

FACES = "evidence.sight"
"""Name of the observation."""

DETECTIONS_PER_SECOND = 4.0

FRAMES_PER_DETECTION = 3

SAMPLING = FrameSampling(rate=DETECTIONS_PER_SECOND * FRAMES_PER_DETECTION, long_side=480)
"""Faces are detected in every third sampled frame; mouth motion is measured in every one."""

NEW_SHOT_SHARE = 0.25
"""Share of the colour histogram that must change between two detections for a new shot."""

_REVISION = "2"  # raise it whenever the same frames would give other arrays
_LEVELS = 8
_TOLERANCE = 1e-6  # seconds


@dataclass(frozen=True, slots=True)
class _Detection:
    time: float
    faces: Faces
    new_shot: bool
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Mouth:
    time: float
    mouth: float
    face: float
    digest: bytes


class FaceObserver:
    """Observes one video. The observation has one row per face detection:

    `time` (n,): presentation time in seconds. `faces` (n,): number of faces found. `score` (n,): score of the most
    likely face. `box` (n, 4): left, top, width and height of that face as fractions of the picture. `new_shot`
    (n,): whether a shot started since the previous row. `sha256` (n, 32): hash of the frame's RGB bytes.

    It also has one row per frame with a face large enough to measure, except between a detection and a shot cut:
    `mouth_time` (m,); `mouth_motion` and `face_motion` (m,): motion since the previous frame of the mouth that
    moved most relative to its face, and of that face (see detection/mouth_motion.py); `mouth_sha256` (m, 32).
    """

    name = FACES
    sampling = SAMPLING

    def __init__(self) -> None:
        self._detections: list[_Detection] = []
        self._mouths: list[_Mouth] = []
        self._unconfirmed: list[_Mouth] = []
        """Mouths since the last detection: the next one shows whether the faces were still there."""
        self._measured_faces: list[Face] = []
        self._colours: NDArray[np.float64] | None = None
        self._previous: NDArray[np.uint8] | None = None

    @property
    def version(self) -> str:
        """Revision of this code and hash of the weights."""
        return "-".join((_REVISION, *(digest[:12] for digest in centerface_identity().files.values())))

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Process RGB frames (n, height, width, 3) one by one: on a CPU a batch is no faster."""
        for frame, time in zip(frames, times.tolist(), strict=True):
            detects = self._detects_at(time)
            if detects or self._measured_faces:
                grey = to_grey(frame)
                digest = hashlib.sha256(np.ascontiguousarray(frame).data).digest()
                self._measure_mouths(grey, time, digest)
                if detects:
                    self._detect(frame, time, digest)
                self._previous = grey

    def finish(self) -> Observation:
        """Return the arrays."""
        self._mouths += self._unconfirmed
        self._unconfirmed = []
        return _detection_arrays(self._detections) | _mouth_arrays(self._mouths)

    def _detects_at(self, time: float) -> bool:
        """Whether the frame is the one displayed at some k / DETECTIONS_PER_SECOND."""
        instant = int(np.ceil((time - _TOLERANCE) * DETECTIONS_PER_SECOND * FRAMES_PER_DETECTION))
        if not self._detections or instant % FRAMES_PER_DETECTION == 0:
            return True
        return time - self._detections[-1].time >= 1 / DETECTIONS_PER_SECOND - _TOLERANCE

    def _measure_mouths(self, grey: NDArray[np.uint8], time: float, digest: bytes) -> None:
        if not self._measured_faces or self._previous is None:
            return
        motions = [mouth_motion(self._previous, grey, face) for face in self._measured_faces]
        mouth, face = max(motions, key=lambda motion: motion[0] - motion[1])
        self._unconfirmed.append(_Mouth(time, mouth, face, digest))

    def _detect(self, frame: NDArray[np.uint8], time: float, digest: bytes) -> None:
        colours = _colours(frame)
        previous = colours if self._colours is None else self._colours
        new_shot = float(np.abs(colours - previous).sum()) / 2 >= NEW_SHOT_SHARE
        faces = find_faces(frame)
        self._detections.append(_Detection(time, faces, new_shot, digest))
        if faces.found and not new_shot:
            self._mouths += self._unconfirmed
        self._unconfirmed = []
        self._measured_faces = _measurable(faces.found, frame.shape[1], frame.shape[0])
        self._colours = colours


def _measurable(faces: Sequence[Face], width: int, height: int) -> list[Face]:
    """The faces that are large enough and at least half as high as the largest."""
    largest = max((float(face.box[3]) for face in faces), default=0.0)
    return [face for face in faces if is_large_enough(face, width, height) and face.box[3] >= largest / 2]


def _detection_arrays(detections: list[_Detection]) -> dict[str, NDArray[np.generic]]:
    return {
        "time": np.array([one.time for one in detections], np.float64),
        "faces": np.array([one.faces.count for one in detections], np.int32),
        "score": np.array([one.faces.score for one in detections], np.float32),
        "box": np.array([one.faces.likeliest.box for one in detections], np.float32).reshape(-1, 4),
        "new_shot": np.array([one.new_shot for one in detections], np.bool_),
        "sha256": _digests([one.digest for one in detections]),
    }


def _mouth_arrays(mouths: list[_Mouth]) -> dict[str, NDArray[np.generic]]:
    return {
        "mouth_time": np.array([mouth.time for mouth in mouths], np.float64),
        "mouth_motion": np.array([mouth.mouth for mouth in mouths], np.float32),
        "face_motion": np.array([mouth.face for mouth in mouths], np.float32),
        "mouth_sha256": _digests([mouth.digest for mouth in mouths]),
    }


def _digests(digests: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def _colours(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Histogram of every other pixel over 512 colours (8 levels of red, green and blue); sums to 1."""
    level = (frame[::2, ::2] // (256 // _LEVELS)).astype(np.intp)
    index = (level[..., 0] * _LEVELS + level[..., 1]) * _LEVELS + level[..., 2]
    return np.bincount(index.ravel(), minlength=_LEVELS**3) / index.size
