"""Reads the numbers that `write_clip` drew into a file's frames, and its picture's packets."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsound.media.decode import decode_video
from deepsound.media.in_sandbox.demux import open_media, video_stream
from deepsound.media.observers import FrameSampling
from tests.made_clips import read_number


class NumberObserver:
    """Records the number and the time of every frame."""

    name = "numbers"
    version = "1"
    sampling = FrameSampling(None, 160)

    def __init__(self) -> None:
        self.shown: list[tuple[float, int]] = []

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        self.shown.extend(zip(times.tolist(), map(read_number, frames), strict=True))

    def finish(self) -> dict[str, NDArray[np.generic]]:
        return {}


def shown(path: Path) -> list[tuple[float, int]]:
    """Return the time and the number of every shown frame."""
    observer = NumberObserver()
    decode_video(path, [observer])
    return observer.shown


def stored_packets(path: Path) -> list[bytes]:
    """Return the picture's packets as the file stores them, including hidden ones."""
    with open_media(path, edited=False) as container:
        return [bytes(packet) for packet in container.demux(video_stream(container, path)) if packet.size]
