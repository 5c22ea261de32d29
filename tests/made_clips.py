"""Encodes clips for tests with PyAV, with the properties and the damage that archive files have.

The frames have known content: `read_number` reads the number of a `numbered` frame, and a `bouncing_ball` hits the
floor at given times.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Sound = NDArray[np.float32]

_VIDEO_TICKS = 90_000
_BITS = 16


def write_clip(
    path: Path,
    *,
    seconds: float = 1.0,
    rate: Fraction | int = 25,
    size: tuple[int, int] = (160, 120),
    frames: Callable[[float], Frame] | Iterable[Frame] | None = None,
    times: Sequence[float] | None = None,
    audio: NDArray[np.floating] | None = None,
    audio_rate: int = 48_000,
    audio_start: float = 0.0,
    audio_codec: str = "aac",
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    video_start: float = 0.0,
    rotation: int = 0,
    aspect: Fraction | int = 1,
    interlaced: bool = False,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Write a clip and return its path; the suffix chooses the container.

    - `size`: (width, height) as coded.
    - `frames`: a function that returns the frame at a time, or the frames; by default numbered from 0.
    - `times`: presentation times in seconds, for a variable rate; by default `rate` spaces the frames.
    - `audio`: (samples,) or (samples, channels) within ±1, which starts at `audio_start`.
    - `video_start`: if negative, an edit list hides the frames before 0 in MP4 and MOV.
    - `rotation`: degrees clockwise. `options` are the video encoder's, `container_options` the muxer's.
    """
    shown = list(times) if times is not None else _steady(seconds, rate)
    pictures = _pictures(frames, shown, size)
    with av.open(f"file:{path}", "w", container_options=dict(container_options or {})) as container:
        video = container.add_stream(codec, rate=rate, options=_options(codec, interlaced, options))
        video.width, video.height = size
        video.pix_fmt = pixel_format
        video.codec_context.time_base = Fraction(1, _ticks(codec, rate))
        video.codec_context.sample_aspect_ratio = Fraction(aspect)
        if rotation:
            video.set_display_rotation(-rotation)
        sound = None if audio is None else _sound_stream(container, audio, audio_rate, audio_codec)
        ticks = _ticks(codec, rate)
        for time, picture in zip(shown, pictures, strict=True):
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.pts = round((time + video_start) * ticks)
            frame.time_base = Fraction(1, ticks)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            _write_sound(container, sound, audio, audio_rate, audio_start)
    return path


def _steady(seconds: float, rate: Fraction | int) -> list[float]:
    return [float(index / Fraction(rate)) for index in range(max(round(seconds * rate), 1))]


def _pictures(
    frames: Callable[[float], Frame] | Iterable[Frame] | None, times: Sequence[float], size: tuple[int, int]
) -> Iterable[Frame]:
    if frames is None:
        return (numbered(index, size) for index in range(len(times)))
    if callable(frames):
        return (frames(time) for time in times)
    return frames


def _ticks(codec: str, rate: Fraction | int) -> int:
    # Old codecs store the frame rate in 16 bits; x264 and x265 accept any clock.
    return _VIDEO_TICKS if codec.startswith("libx26") else int(rate)


def _options(codec: str, interlaced: bool, options: Mapping[str, str] | None) -> dict[str, str]:
    chosen = dict(options or {})
    if codec == "libx264":
        chosen = {"preset": "ultrafast", "crf": "18"} | chosen
        if interlaced:
            chosen |= {"x264-params": "tff=1", "preset": "fast"}
    elif interlaced:
        chosen |= {"flags": "+ildct+ilme"}
    return chosen


def _sound_stream(
    container: av.container.OutputContainer, audio: NDArray[np.floating], rate: int, codec: str
) -> av.AudioStream:
    channels = 1 if audio.ndim == 1 else audio.shape[1]
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    return container.add_stream(codec, rate=rate, layout=layout)


def _write_sound(
    container: av.container.OutputContainer,
    stream: av.AudioStream,
    audio: NDArray[np.floating],
    rate: int,
    start: float,
) -> None:
    packed = np.ascontiguousarray(audio, np.float32).reshape(1, -1)
    frame = AudioFrame.from_ndarray(packed, format="flt", layout=stream.layout.name)
    frame.sample_rate = rate
    frame.pts = round(start * rate)
    frame.time_base = Fraction(1, rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def numbered(number: int, size: tuple[int, int] = (160, 120)) -> Frame:
    """Return a frame that shows `number` as sixteen dark and light cells, four by four."""
    width, height = size
    bits = [(number >> bit) & 1 for bit in range(_BITS)]
    cells = np.array(bits, np.uint8).reshape(4, 4) * 160 + 48
    rows = np.arange(height) * 4 // height
    columns = np.arange(width) * 4 // width
    return np.repeat(cells[rows][:, columns, None], 3, axis=2)


def read_number(frame: Frame) -> int:
    """Return the number of a `numbered` frame, also after coding and scaling."""
    height, width = frame.shape[:2]
    number = 0
    for bit in range(_BITS):
        row, column = divmod(bit, 4)
        cell = frame[
            round((row + 0.3) * height / 4) : round((row + 0.7) * height / 4) + 1,
            round((column + 0.3) * width / 4) : round((column + 0.7) * width / 4) + 1,
        ]
        number |= int(cell.mean() > 128) << bit
    return number


def bouncing_ball(impacts: Sequence[float], size: tuple[int, int] = (320, 180)) -> Callable[[float], Frame]:
    """Return the frames of a red ball that hits the floor at given times in seconds and then lies still.

    The ball falls from the top to the first impact, and follows a parabola between two impacts.
    """
    width, height = size
    radius = height // 10
    floor = height - height // 8
    top = radius + 2
    rows, columns = np.mgrid[0:height, 0:width]
    scene = np.full((height, width, 3), (110, 140, 170), np.uint8)
    scene[floor:] = (90, 70, 50)
    longest = max([impacts[0], *(np.diff(impacts) / 2)])

    def frame(time: float) -> Frame:
        lift = _lift(time, impacts, longest)
        y = floor - radius - lift * (floor - radius - top)
        x = width * (0.2 + 0.6 * min(time / (impacts[-1] + 1e-9), 1.0))
        ball = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        picture = scene.copy()
        picture[ball] = (200, 40, 30)
        return picture

    return frame


def _lift(time: float, impacts: Sequence[float], longest: float) -> float:
    """Return the height above the floor, at most 1: in free fall it grows with the square of the time."""
    if time >= impacts[-1]:
        return 0.0
    if time <= impacts[0]:
        fall, since = impacts[0], time
    else:
        index = int(np.searchsorted(impacts, time, side="right"))
        fall = (impacts[index] - impacts[index - 1]) / 2
        since = abs(time - impacts[index - 1] - fall)
    return (fall**2 - since**2) / longest**2


def clicks(times: Sequence[float], seconds: float, rate: int = 48_000, channels: int = 1) -> Sound:
    """Return silence with a click of 1 ms at each time: (samples, channels)."""
    sound = np.zeros((round(seconds * rate), channels), np.float32)
    for time in times:
        begin = round(time * rate)
        sound[begin : begin + rate // 1000] = 0.8
    return sound


def tone(frequency: float, seconds: float, rate: int = 48_000, level: float = 0.25, channels: int = 1) -> Sound:
    """Return a sine of amplitude `level`: (samples, channels)."""
    time = np.arange(round(seconds * rate)) / rate
    return np.repeat((level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)[:, None], channels, axis=1)


def cut_off(path: Path, share: float) -> Path:
    """Keep only the first `share` of a file's bytes, as an interrupted copy does."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def scratch(path: Path, begin: float, end: float, seed: int = 0) -> Path:
    """Overwrite the bytes between two shares of a file's length with noise, as a failing disk does."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * begin), int(len(data) * end)
    data[first:last] = np.random.default_rng(seed).bytes(last - first)
    path.write_bytes(data)
    return path


def edit_list(path: Path, edits: Sequence[tuple[float, float | None]]) -> Path:
    """Give the first track of an MP4 or MOV file, as `write_clip` makes it, another edit list.

    An edit is (duration, media time) in seconds; without a media time it shows nothing.
    """
    data = path.read_bytes()
    scales = {kind: int.from_bytes(data[data.index(kind) + 16 :][:4], "big") for kind in (b"mvhd", b"mdhd")}
    entries = b"".join(
        struct.pack(
            ">IiI",
            round(duration * scales[b"mvhd"]),
            -1 if time is None else round(time * scales[b"mdhd"]),
            1 << 16,
        )
        for duration, time in edits
    )
    elst = _box(b"elst", struct.pack(">II", 0, len(edits)) + entries)
    path.write_bytes(_replaced(data, [b"moov", b"trak", b"edts"], _box(b"edts", elst)))
    return path


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _replaced(data: bytes, path: Sequence[bytes], box: bytes) -> bytes:
    """Return `data`, a sequence of boxes, with the first box at `path` in the nested boxes replaced."""
    at = 0
    while data[at + 4 : at + 8] != path[0]:
        at += int.from_bytes(data[at : at + 4], "big")
    end = at + int.from_bytes(data[at : at + 4], "big")
    new = box if len(path) == 1 else _box(path[0], _replaced(data[at + 8 : end], path[1:], box))
    return data[:at] + new + data[end:]
