"""A mouth that opens is told from a head that moves, a light that changes and the grain of the film."""

from functools import cache

import av
import cv2
import numpy as np
import pytest

from deepsound.detection.centerface import Face, find_faces
from deepsound.detection.mouth_motion import is_large_enough, mouth_motion, to_grey
from tests.voiced_clips import shipped_clip


@cache
def man() -> tuple[np.ndarray, Face]:
    """A picture of a man, and his face."""
    with av.open(str(shipped_clip("carphone_pristine.mp4"))) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24", width=352, height=288)
    (face,) = find_faces(frame).found
    return frame, face


def moved(after: np.ndarray) -> float:
    """How far the mouth's change exceeds the face's, from the picture of the man to another."""
    picture, face = man()
    mouth, around = mouth_motion(to_grey(picture), to_grey(after), face)
    return mouth - around


def test_landmarks_lie_where_eyes_and_mouth_are():
    _, face = man()
    eyes, nose, mouth = face.landmarks[:2], face.landmarks[2], face.landmarks[3:]
    left, top, width, height = face.box
    assert eyes[:, 1].max() < nose[1] < mouth[:, 1].min()
    assert eyes[0, 0] < eyes[1, 0]
    assert mouth[0, 0] < mouth[1, 0]
    assert np.all((face.landmarks > (left, top)) & (face.landmarks < (left + width, top + height)))


def test_an_opening_mouth_moves_more_than_its_face():
    picture, face = man()
    open_mouth = picture.copy()
    middle = tuple(np.rint(face.landmarks[3:].mean(axis=0) * (352, 288)).astype(int).tolist())
    cv2.ellipse(open_mouth, middle, (9, 6), 0, 0, 360, (40, 15, 15), -1)
    assert moved(open_mouth) > 0.1


@pytest.mark.parametrize("pixels", [1, 3, 6])
def test_a_moving_camera_moves_no_mouth(pixels):
    picture, face = man()
    there = to_grey(np.roll(picture, pixels, axis=1))
    mouth, around = mouth_motion(to_grey(picture), there, face)
    assert mouth < 0.05
    assert around < 0.05


def test_light_and_grain_move_no_mouth():
    picture, _ = man()
    grain = np.random.default_rng(0).normal(0, 4, picture.shape[:2])[..., None]
    assert moved(np.clip(picture * 1.05 + grain, 0, 255).astype(np.uint8)) < 0.03


def test_nothing_moves_in_a_still():
    picture, face = man()
    assert mouth_motion(to_grey(picture), to_grey(picture), face) == (0.0, 0.0)


def test_a_small_face_far_away_is_not_watched():
    _, face = man()
    assert is_large_enough(face, 352, 288)
    tiny = Face(face.box * np.float32(0.1), face.landmarks)
    assert not is_large_enough(tiny, 352, 288)
