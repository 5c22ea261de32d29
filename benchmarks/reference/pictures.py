"""Pictures as the reference handles them: a full decoding each time, all frames kept, encoded again."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import decord
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from torch import Tensor

_SHOWN = 16
_BIT_RATE = 10_000_000
_INSTANT = 1e-6

Frames = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Reel:
    """Every frame of a video as RGB (n, height, width, 3), and when it is shown, in seconds from the first."""

    frames: Frames
    times: NDArray[np.float64]
    rate: Fraction

    def sampled(self, rate: float, count: int) -> Tensor:
        """The first frame at or after 0, 1 / rate, ..., or the last: (count, 3, height, width)."""
        at = np.searchsorted(self.times, np.arange(count) / rate - _INSTANT)
        return torch.from_numpy(self.frames[at.clip(max=len(self.times) - 1)]).permute(0, 3, 1, 2)


def decode_all(path: Path) -> Reel:
    """Decode the whole video and keep it."""
    frames: list[Frames] = []
    times: list[float] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = stream.guessed_rate or Fraction(25)
        for frame in container.decode(stream):
            frames.append(frame.to_ndarray(format="rgb24"))
            times.append(float(frame.time or 0.0))
    return Reel(np.stack(frames), np.array(times) - times[0], rate)


def show_to_the_language_model(path: Path) -> Frames:
    """Sixteen frames from all over the video, by decord."""
    reader = decord.VideoReader(str(path), num_threads=1)
    count = len(reader)
    at = [round((index + 0.5) * (count - 1) / _SHOWN) for index in range(_SHOWN)]
    return reader.get_batch(at).asnumpy()


def play_to_the_language_model(path: Path) -> NDArray[np.float32]:
    """The sound as 16 kHz mono."""
    resampler = av.AudioResampler("flt", "mono", 16_000)
    with av.open(str(path)) as container:
        blocks = [block.to_ndarray() for frame in container.decode(audio=0) for block in resampler.resample(frame)]
    return np.concatenate(blocks, axis=1)


def encode(target: Path, reel: Reel, sound: NDArray[np.float32], sample_rate: int, sound_codec: str) -> None:
    """All frames as H.264 at 10 Mbit/s, with sound (channels, samples)."""
    with av.open(str(target), "w") as container:
        video = container.add_stream("libx264", rate=reel.rate)
        video.height, video.width = (side // 2 * 2 for side in reel.frames.shape[1:3])
        video.bit_rate, video.pix_fmt = _BIT_RATE, "yuv420p"
        audio = container.add_stream(sound_codec, rate=sample_rate)
        audio.layout = "mono" if len(sound) == 1 else "stereo"
        for array in reel.frames:
            container.mux(video.encode(VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(video.encode())
        for frame in _sound_frames(sound, sample_rate, audio.layout.name):
            container.mux(audio.encode(frame))
        container.mux(audio.encode())


def _sound_frames(sound: NDArray[np.float32], sample_rate: int, layout: str) -> Iterator[AudioFrame]:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout=layout)
    frame.sample_rate = sample_rate
    frame.pts = 0
    resampler = av.AudioResampler("fltp", layout, sample_rate, frame_size=1024)
    yield from resampler.resample(frame)
    yield from resampler.resample(None)
