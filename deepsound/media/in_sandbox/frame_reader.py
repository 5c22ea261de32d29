"""Yields every shown frame of a video in order with its presentation time, from decord or PyAV."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from deepsound.media.in_sandbox.decord_reader import DecordReader, DecordStoppedError, trusted_reader
from deepsound.media.in_sandbox.demux import check_memory, demux, open_media, video_stream
from deepsound.media.in_sandbox.packet_times import FrameClock, stores_times
from deepsound.media.media_info import VideoInfo

Rgb = NDArray[np.uint8]
Size = tuple[int, int]
Wanted = Callable[[float, float], bool]


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A frame that is shown from `time` until `until`, in seconds from the first shown frame.

    `coded` is the frame as coded, RGB (height, width, 3); turning it `rotation` degrees clockwise sets it upright.
    """

    time: float
    until: float
    coded: Rgb
    rotation: int

    def rgb(self, size: Size) -> Rgb:
        """Return the frame upright and scaled to (width, height), independent of all other frames and sizes."""
        width, height = size if self.rotation % 180 == 0 else size[::-1]
        return np.rot90(_scaled(self.coded, width, height), -self.rotation // 90)


@dataclass(slots=True)
class DecodingPass:
    """One decoding pass over a video, which yields the frames for which `wanted(time, until)` holds; iterate once.

    Afterwards, `decoder` names what decoded the video, `frames` counts all decoded frames, wanted or not, and
    `damaged` the packets and frames that were lost.
    """

    path: Path
    info: VideoInfo
    wanted: Wanted
    decoder: str = "pyav"
    frames: int = 0
    damaged: int = 0
    _last_time: float = field(default=-1.0)

    def __iter__(self) -> Iterator[DecodedFrame]:
        reader = trusted_reader(self.path, self.info)
        if reader is not None:
            try:
                yield from self._by_decord(reader)
            except DecordStoppedError:
                self.decoder = "decord, then pyav"
                del reader  # frees its memory
            else:
                return
        yield from self._by_pyav()

    def _by_decord(self, reader: DecordReader) -> Iterator[DecodedFrame]:
        self.decoder = "decord"
        skipped = 0
        ends = [*reader.times[1:], self.info.duration]
        for time, until in zip(reader.times, ends, strict=True):
            if not self.wanted(time, until):
                skipped += 1
                continue
            image = reader.next_after(skipped)
            self.frames += skipped + 1
            skipped = 0
            self._last_time = time
            yield DecodedFrame(time, until, image, 0)
        self.frames += skipped

    def _by_pyav(self) -> Iterator[DecodedFrame]:
        converter = VideoReformatter()
        for (time, frame), until in self._with_ends(self._timed_frames()):
            if not self.wanted(time, until):
                continue
            try:
                coded = converter.reformat(frame, format="rgb24").to_ndarray()
            except FFmpegError as error:  # damage can make a frame claim a colour space that does not exist
                check_memory(error)
                self.damaged += 1
                continue
            yield DecodedFrame(time, until, np.asarray(coded, np.uint8), self.info.rotation)

    def _with_ends(
        self, frames: Iterator[tuple[float, VideoFrame]]
    ) -> Iterator[tuple[tuple[float, VideoFrame], float]]:
        """Yield each frame with the time at which it is replaced by the next one, or the video ends."""
        current = next(frames, None)
        if current is None:
            return
        for following in frames:
            yield current, following[0]
            current = following
        yield current, max(self.info.duration, current[0] + float(1 / self.info.frame_rate) / 2)

    def _timed_frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """Yield frames in order with their times, without those out of order or already yielded by decord."""
        with open_media(self.path) as container:
            stream = video_stream(container, self.path)
            stream.thread_type = "AUTO"
            frames = self._decoded(demux(container, stream), FrameClock(stores_times(container)))
            if self.info.interlaced:
                frames = _deinterlaced(frames)
            for frame in frames:
                tick = frame.time_base or stream.time_base or 0
                time = float((frame.pts or 0) * tick) - self.info.start
                if time <= self._last_time:
                    self.damaged += self.decoder == "pyav"
                    continue
                self._last_time = time
                self.frames += 1
                yield max(time, 0.0), frame

    def _decoded(self, packets: "Iterator[Packet[VideoStream]]", clock: FrameClock) -> Iterator[VideoFrame]:
        for packet in self._readable(packets):
            clock.add_packet(packet)
            try:
                frames = packet.decode()
            except FFmpegError as error:
                check_memory(error)
                self.damaged += 1
                clock.drop_packet()
                continue
            for frame in frames:
                self.damaged += frame.is_corrupt
                frame.pts = clock.frame_time(frame)
                yield frame

    def _readable(self, packets: "Iterator[Packet[VideoStream]]") -> "Iterator[Packet[VideoStream]]":
        try:
            yield from packets
        except FFmpegError as error:  # the file can't be read any further; the frames before this are kept
            check_memory(error)
            self.damaged += 1


def _scaled(image: Rgb, width: int, height: int) -> Rgb:
    """Return the image averaged down, by halves where possible: several times faster than other ratios."""
    while (
        image.shape[0] >= 2 * height
        and image.shape[1] >= 2 * width
        and not (image.shape[0] % 2 or image.shape[1] % 2)
    ):
        image = _averaged(image, image.shape[1] // 2, image.shape[0] // 2)
    return image if image.shape[:2] == (height, width) else _averaged(image, width, height)


def _averaged(image: Rgb, width: int, height: int) -> Rgb:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _deinterlaced(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Yield one progressive frame per frame; frames that are not marked interlaced pass unchanged."""
    for (width, height, pixel_format, tick), run in groupby(frames, _shape):
        graph = Graph()
        graph.link_nodes(
            graph.add_buffer(width=width, height=height, format=VideoFormat(pixel_format), time_base=tick),
            graph.add("bwdif", "mode=send_frame:deint=interlaced"),
            graph.add("buffersink"),
        ).configure()
        for frame in run:
            graph.push(frame)
            yield from _pulled(graph)
        graph.push(None)
        yield from _pulled(graph)


def _shape(frame: VideoFrame) -> tuple[int, int, str, Fraction]:
    return frame.width, frame.height, frame.format.name, frame.time_base or Fraction(1, 90_000)


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        if isinstance(frame, VideoFrame):
            yield frame
