"""What a file shows and holds: the numbers that `write_clip` drew into its frames, and its picture's packets."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsound.media.decode import decode_video
from deepsound.media.in_sandbox.demux import open_media, video_stream
from deepsound.media.observers import FrameSampling
from tests.made_clips import read_number


class Reader:
    """Notes the number of every frame and when it was shown."""

    name = "reader"
    version = "1"
    sampling = FrameSampling(None, 160)

    def __init__(self) -> None:
        self.shown: list[tuple[float, int]] = []

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        self.shown.extend(zip(times.tolist(), map(read_number, frames), strict=True))

    def finish(self) -> dict[str, NDArray[np.generic]]:
        return {}


def shown(path: Path) -> list[tuple[float, int]]:
    reader = Reader()
    decode_video(path, [reader])
    return reader.shown


def stored_packets(path: Path) -> list[bytes]:
    """The picture's packets as the file stores them, hidden ones too."""
    with open_media(path, edited=False) as container:
        return [bytes(packet) for packet in container.demux(video_stream(container, path)) if packet.size]
