"""Finds the cuts between shots while the video is decoded."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from deepsound.media.observers import FrameSampling, Observation

CUTS_OBSERVATION = "cuts"
_LONG_SIDE = 320
_DETECTOR_RATE = 1.0
"""The detector counts frames; at one frame per second its times are frame numbers."""


class CutObserver:
    """Records `time` (n,): the presentation times in seconds of the first frames of all shots but the first.

    Uses PySceneDetect's adaptive detector: a cut is a change of content that exceeds that of the frames around it.
    Fades and dissolves are not cuts.
    """

    name = CUTS_OBSERVATION
    version = "1"
    sampling = FrameSampling(rate=None, long_side=_LONG_SIDE)

    def __init__(self) -> None:
        self._detector = AdaptiveDetector(min_scene_len=1)
        self._times: list[NDArray[np.float64]] = []
        self._seen = 0
        self._cuts: list[int] = []

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Take a block: RGB (n, height, width, 3), and presentation times (n,) in seconds."""
        self._times.append(times)
        for frame in frames:
            now = FrameTimecode(self._seen, _DETECTOR_RATE)
            cuts = self._detector.process_frame(now, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            self._cuts.extend(int(cut.frame_num) for cut in cuts)
            self._seen += 1

    def finish(self) -> Observation:
        """Return the times of the cuts, in order."""
        times = np.concatenate(self._times) if self._times else np.zeros(0)
        return {"time": times[self._cuts]}
