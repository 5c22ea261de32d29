"""How much a mouth moves beside the rest of its face, from one frame to the next.

A talking mouth changes its own small part of the face; a turning head, a trembling camera and the grain of the
film change the whole of it. So the face is laid over itself as it was one frame before, and what the mouth changed
is compared with what the eyes, nose and cheeks changed.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsound.detection.centerface import Face

MIN_FACE_HEIGHT = 0.06
"""Faces lower than this share of the picture's longer side are too small to watch their mouths."""

_SIDE = 96  # pixels of the square that a face is brought to
_MARGIN = 1.25  # side of that square in heights of the face
_SHARPNESS = 1.0  # pixels of blur against grain
_FARTHEST = 12.0  # pixels that a face moves at most between two frames; anything else is a misfit
_STEADY = slice(8, 64)  # rows of the square by which a face is laid over itself: from forehead to nose
_WINDOW = cv2.createHanningWindow((_SIDE, _STEADY.stop - _STEADY.start), cv2.CV_32F)

Grey = NDArray[np.uint8]
Square = NDArray[np.float32]


def to_grey(picture: NDArray[np.uint8]) -> Grey:
    """An RGB picture (height, width, 3) in grey."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def is_large_enough(face: Face, width: int, height: int) -> bool:
    """Whether the mouth of a face is large enough in a picture of this size."""
    return float(face.box[3]) * height >= MIN_FACE_HEIGHT * max(width, height)


def mouth_motion(before: Grey, after: Grey, face: Face) -> tuple[float, float]:
    """How much the mouth and the upper face changed between two grey pictures (height, width) with one face.

    Both are mean absolute differences after the upper face was laid over itself, in standard deviations of the
    face's brightness, so that neither light nor contrast matters.
    """
    height, width = after.shape
    size = np.array([width, height], np.float64)
    middle = (face.box[:2] + face.box[2:] / 2) * size
    scale = _SIDE / (_MARGIN * float((face.box[2:] * size).max()))
    one, two = _square(before, middle, scale), _square(after, middle, scale)
    changed = np.abs(two - _laid_over(one, two))
    contrast = float(two[16:80, 16:80].std()) + 1e-3
    eyes, mouth, half = _features(face, size, middle, scale)
    across = slice(*_within(mouth[0] - 1.2 * half, mouth[0] + 1.2 * half))
    lips = slice(*_within(mouth[1] - 0.9 * half, mouth[1] + 1.6 * half))
    upper = slice(*_within(eyes[1] - 1.2 * half, mouth[1] - half))
    return float(changed[lips, across].mean()) / contrast, float(changed[upper, across].mean()) / contrast


def _features(
    face: Face, size: NDArray[np.float64], middle: NDArray[np.float64], scale: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """In pixels of the square: between the eyes, the middle of the mouth, half the mouth's width."""
    points = (face.landmarks * size - middle) * scale + _SIDE / 2
    width = max(float(np.hypot(*(points[4] - points[3]))), 0.3 * float(face.box[2]) * float(size[0]) * scale)
    return points[:2].mean(axis=0), points[3:].mean(axis=0), width / 2


def _square(picture: Grey, middle: NDArray[np.float64], scale: float) -> Square:
    matrix = np.array([[scale, 0, _SIDE / 2 - middle[0] * scale], [0, scale, _SIDE / 2 - middle[1] * scale]])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cut = cv2.warpAffine(picture, matrix, (_SIDE, _SIDE), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.GaussianBlur(cut.astype(np.float32), (0, 0), _SHARPNESS), np.float32)


def _laid_over(one: Square, two: Square) -> Square:
    (across, down), _ = cv2.phaseCorrelate(one[_STEADY], two[_STEADY], _WINDOW)
    if max(abs(across), abs(down)) > _FARTHEST:
        return one
    shift = np.array([[1.0, 0.0, across], [0.0, 1.0, down]])
    return np.asarray(cv2.warpAffine(one, shift, (_SIDE, _SIDE), borderMode=cv2.BORDER_REPLICATE), np.float32)


def _within(first: float, last: float) -> tuple[int, int]:
    """A range of at least 8 pixels inside the square."""
    start = int(np.clip(first, 0, _SIDE - 8))
    return start, int(np.clip(last, start + 8, _SIDE))
